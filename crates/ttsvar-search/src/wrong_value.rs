//! Messages about values of the wrong type, in the words of users instead of the names of Rust types.

/// Rewrites a message of serde. `invalid type: integer `-1`, expected usize` becomes `found -1,
/// expected a non-negative integer`; other messages stay as they are.
pub fn plain(message: &str) -> String {
    match parts(message) {
        Some((found, expected)) => format!("found {found}, expected {expected}"),
        None => message.to_owned(),
    }
}

/// The same, as a sentence about the value `name`.
pub fn sentence(name: &str, message: &str) -> String {
    match parts(message) {
        Some((found, expected)) => format!("{name} is {found}, expected {expected}"),
        None => {
            let message = message.replace("unknown variant", "unknown value");
            format!("`{name}`: {message}")
        }
    }
}

/// What was found and what was expected, if a message of serde is about the type of a value.
fn parts(message: &str) -> Option<(String, String)> {
    let kinds = ["invalid type: ", "invalid value: "];
    let rest = kinds.iter().find_map(|kind| message.strip_prefix(kind));
    let (found, expected) = match rest {
        Some(rest) => rest.rsplit_once(", expected ")?,
        None if message.contains("untagged enum Number") => ("another value", "f64"),
        None => return None,
    };
    // Readers of JSON add the position of the value
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    Some((value(found), kind(expected)))
}

/// The value in a message: `integer `-1`` is -1.
fn value(found: &str) -> String {
    let named = ["integer ", "floating point ", "boolean ", "string "];
    let value = named.iter().find_map(|kind| found.strip_prefix(kind));
    match (value, found) {
        (Some(value), _) => value.trim_matches('`').to_owned(),
        (None, "map") => "an object".to_owned(),
        (None, "sequence") => "a list".to_owned(),
        (None, "unit value") => "null".to_owned(),
        (None, other) => other.to_owned(),
    }
}

/// The expected type in the words of users.
fn kind(expected: &str) -> String {
    let words = match expected {
        "usize" => "a non-negative integer",
        "u64" => return format!("an integer from 0 to {}", u64::MAX),
        "f32" | "f64" => "a number",
        "a string" | "string or map" | "variant identifier" => "a string",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" | "map" => "an object",
        structure if structure.starts_with("struct ") => "an object",
        other => other,
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_users_know_them() {
        for (message, expected) in [
            (
                "invalid type: integer `-1`, expected usize at line 1 column 34",
                "n is -1, expected a non-negative integer",
            ),
            (
                "invalid type: floating point `1.5`, expected u64",
                "n is 1.5, expected an integer from 0 to 18446744073709551615",
            ),
            (
                "invalid type: string \"a, expected b\", expected f32",
                "n is \"a, expected b\", expected a number",
            ),
            (
                "invalid type: sequence, expected struct PlanFile",
                "n is a list, expected an object",
            ),
            (
                "data did not match any variant of untagged enum Number",
                "n is another value, expected a number",
            ),
            ("unknown field `x`", "`n`: unknown field `x`"),
            (
                "unknown variant `x`, expected `a`",
                "`n`: unknown value `x`, expected `a`",
            ),
        ] {
            assert_eq!(sentence("n", message), expected);
        }
        assert_eq!(
            plain("invalid type: boolean `true`, expected a string"),
            "found true, expected a string"
        );
    }
}
