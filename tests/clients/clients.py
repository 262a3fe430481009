"""webuiapi and OpenAI's SDK for Python, as their users call them."""

import base64
import io
import os
from typing import Any

import openai
import PIL.Image
import webuiapi

ADDRESS = os.environ["TTSVAR_ADDRESS"]
TOKEN = os.environ["TTSVAR_TOKEN"]
PROMPT = "a blue star above a red ring"


def stable_diffusion() -> PIL.Image.Image:
    """An image through AUTOMATIC1111's interface; what its text `parameters` says."""
    api = webuiapi.WebUIApi(baseurl=f"{ADDRESS}/sdapi/v1")
    api.session.headers["Authorization"] = f"Bearer {TOKEN}"
    settings = {"method": "best-of-n", "n": 2}
    result = api.txt2img(prompt=PROMPT, seed=7, override_settings=settings)
    (image,) = result.images
    prompt, *_, last = image.info["parameters"].splitlines()
    assert prompt == PROMPT, image.info
    fields = dict(field.split(": ", 1) for field in last.split(", ") if ": " in field)
    assert fields["Seed"] == "7" and fields["Sampler"].startswith("best-of-n"), fields
    assert fields["Size"] == f"{image.width}x{image.height}", fields
    assert result.info["seed"] == 7 and result.info["prompt"] == PROMPT, result.info
    assert [model["model_name"] for model in api.get_sd_models()] == ["demo"]
    assert api.get_progress()["progress"] == 0
    return image


def open_ai() -> PIL.Image.Image:
    """The same image through OpenAI's interface."""
    client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key=TOKEN)
    assert client.models.retrieve("demo").id == "demo"
    assert [model.id for model in client.models.list()] == ["demo"]
    search = {"method": "best-of-n", "n": 2}
    response = client.images.generate(
        model="demo",
        prompt=PROMPT,
        n=2,
        response_format="b64_json",
        extra_body={"seed": 7, "search": search},
    )
    first, second = (image_of(image.b64_json) for image in response.data or [])
    assert first.tobytes() != second.tobytes()
    try:
        client.images.generate(model="demo", prompt=" ")
    except openai.BadRequestError as error:
        assert error.param == "prompt", error
    else:
        raise AssertionError("an empty prompt was accepted")
    return first


def shared_and_streamed() -> None:
    """The best images of one search, and a stream with partial images."""
    client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key=TOKEN)
    search = {"method": "best-of-n", "n": 4, "share": True}
    best = client.images.generate(
        prompt=PROMPT, n=2, extra_body={"seed": 7, "search": search}
    ).data
    assert best and len(best) == 2 and best[0].b64_json != best[1].b64_json
    stream = client.images.generate(
        prompt=PROMPT, n=2, stream=True, partial_images=2, extra_body={"seed": 7, "search": search}
    )
    events = list(stream)
    kinds = [event.type.removeprefix("image_generation.") for event in events]
    assert kinds == ["partial_image", "partial_image", "completed", "completed"], kinds
    images = [image_of(event.b64_json) for event in events]
    assert [images[2].tobytes(), images[3].tobytes()] == [
        image_of(image.b64_json).tobytes() for image in best
    ]


def edited(image: PIL.Image.Image) -> None:
    """The lower half of an image is generated again, at once and as a stream."""
    client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key=TOKEN)
    mask = image.convert("RGBA")
    mask.paste((0, 0, 0, 0), (0, image.height // 2, image.width, image.height))
    request: dict[str, Any] = {
        "image": ("image.png", png_of(image)),
        "mask": ("mask.png", png_of(mask)),
        "prompt": "a blue star above a green circle",
        "extra_body": {"seed": 3, "search": {"method": "best-of-n", "n": 2}},
    }
    (found,) = client.images.edit(**request).data or []
    edit = image_of(found.b64_json)
    assert edit.size == image.size and edit.tobytes() != image.tobytes()
    upper = (0, 0, image.width, image.height // 4)
    pairs = zip(edit.crop(upper).tobytes(), image.convert("RGB").crop(upper).tobytes(), strict=True)
    assert sum(abs(a - b) for a, b in pairs) / len(edit.crop(upper).tobytes()) < 6
    events = list(client.images.edit(**request, stream=True, partial_images=1))
    kinds = [event.type for event in events]
    assert kinds == ["image_edit.partial_image", "image_edit.completed"], kinds
    assert events[-1].b64_json == found.b64_json


def png_of(image: PIL.Image.Image) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def image_of(text: str | None) -> PIL.Image.Image:
    """An image in base64."""
    assert text is not None
    return PIL.Image.open(io.BytesIO(base64.b64decode(text)))


image = stable_diffusion()
assert image.tobytes() == open_ai().tobytes()
shared_and_streamed()
edited(image)
