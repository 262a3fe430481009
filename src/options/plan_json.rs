//! Plans as JSON: the keys of a plan file, with errors that name the part of the plan.

use serde_json::Value;
use ttsvar_search::{Plan, wrong_value};

/// Start of the messages that name a part of a plan.
pub(super) const WRONG_PART: &str = "in the plan, ";

/// Reads a plan.
///
/// # Errors
/// A part of it has the wrong type or an unknown name, or the plan cannot be carried out.
pub(super) fn read(keys: &Value) -> Result<Plan, String> {
    let part =
        |name: &str, message: &str| format!("{WRONG_PART}{}", wrong_value::sentence(name, message));
    if let Some((name, value)) = not_an_object(keys) {
        let found = if value.is_array() {
            "a list".to_owned()
        } else {
            value.to_string()
        };
        return Err(format!("{WRONG_PART}{name} is {found}, expected an object"));
    }
    serde_path_to_error::deserialize(keys).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        if path == "." {
            message
        } else {
            part(&path, &message)
        }
    })
}

/// The first part that has to be an object and is none. Lists would be read as objects, too.
fn not_an_object(plan: &Value) -> Option<(String, &Value)> {
    if !plan.is_object() {
        return Some(("the plan itself".to_owned(), plan));
    }
    let stages = plan.get("stage")?.as_array()?;
    for (number, stage) in stages.iter().enumerate() {
        if !stage.is_object() {
            return Some((format!("stage[{number}]"), stage));
        }
        let select = stage.get("select");
        if let Some(select) = select.filter(|select| !select.is_object() && !select.is_null()) {
            return Some((format!("stage[{number}].select"), select));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_part_of_a_plan_that_is_wrong_is_named() {
        let top = json!({ "top": 1 });
        let stage = |key: &str, value: Value| {
            let mut stage = json!({ "scale": 4, "width": 1, "select": top });
            stage[key] = value;
            json!({ "start": 3, "stage": [stage] })
        };
        assert!(read(&json!({ "start": 3, "stage": [] })).is_ok());
        for (plan, expected) in [
            (
                json!([3, null, null, []]),
                "the plan itself is a list, expected an object",
            ),
            (json!(7), "the plan itself is 7, expected an object"),
            (
                json!({ "start": -1 }),
                "start is -1, expected a non-negative integer",
            ),
            (
                json!({ "start": 1, "stage": 5 }),
                "stage is 5, expected a list",
            ),
            (
                json!({ "start": 1, "stage": [[4, 1]] }),
                "stage[0] is a list, expected an object",
            ),
            (
                stage("select", json!([1])),
                "stage[0].select is a list, expected an object",
            ),
            (
                stage("width", json!("2")),
                "stage[0].width is \"2\", expected a non-negative integer",
            ),
            (
                stage("select", json!({ "resample": "value", "lambda": "x" })),
                "stage[0].select.lambda is \"x\", expected a number",
            ),
        ] {
            assert_eq!(read(&plan).unwrap_err(), format!("{WRONG_PART}{expected}"));
        }
    }
}
