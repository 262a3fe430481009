//! The vocabulary of GenEval: objects in the order of COCO's classes, colours in the order of the
//! results.

pub use crate::detectors::colours::COLOURS;
use crate::detectors::open::COCO_CLASSES;

/// The 80 classes of the detector with GenEval's names, some of which differ from COCO's ("computer
/// mouse", "tv remote", "computer keyboard"). The order is COCO's.
pub const OBJECTS: [&str; COCO_CLASSES] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "computer mouse",
    "tv remote",
    "computer keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];

/// The tasks, in the order of the paper's table.
pub const TASKS: [&str; 6] = [
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attr",
];

/// The number of an object's class.
pub fn object(name: &str) -> Option<usize> {
    OBJECTS.iter().position(|object| *object == name)
}

/// The number of a colour.
pub fn colour(name: &str) -> Option<usize> {
    COLOURS.iter().position(|colour| *colour == name)
}
