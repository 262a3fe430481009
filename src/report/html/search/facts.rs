//! Settings and cost of a search, as tables.

use serde_json::Value;
use ttsvar_search::Trace;

use super::super::super::{
    markup::escaped,
    numbers::{counted, operations},
};

/// Cost, settings, scales, plan.
pub(super) fn section(trace: &Trace) -> String {
    format!(
        "<section class=\"facts\">\n<div><h2>Cost</h2>\n{}</div>\n<div><h2>Time</h2>\n{}</div>\n\
         <div class=\"settings\"><h2>Settings</h2>\n{}</div>\n<div><h2>Scales</h2>\n{}</div>\n\
         <div class=\"plan\"><h2>Plan</h2>\n<pre tabindex=\"0\">{}</pre></div>\n</section>\n",
        cost(trace),
        time(trace),
        settings(trace),
        scales(trace),
        escaped(trace.plan.to_toml().trim_end()),
    )
}

/// A value without the quotes of JSON; `None` for null.
pub(super) fn value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn table(rows: impl IntoIterator<Item = (String, String)>) -> String {
    let row = |(name, value): (String, String)| format!("<tr><th>{}<td>{value}\n", escaped(&name));
    format!(
        "<table>\n{}</table>\n",
        rows.into_iter().map(row).collect::<String>()
    )
}

/// Counts and operations; the seconds have their own table.
fn cost(trace: &Trace) -> String {
    let cost = &trace.cost;
    let flops = |flops: f64| {
        if flops > 0.0 {
            operations(flops)
        } else {
            "not counted".to_owned()
        }
    };
    let mut rows = vec![
        ("finished", counted(cost.images, "image")),
        ("decoded", counted(cost.decodes, "image")),
        ("scored", counted(cost.scorings, "image")),
        ("features extracted", counted(cost.extractions, "image")),
        ("operations", flops(cost.flops.total())),
    ];
    if cost.flops.total() > 0.0 {
        rows.push(("– generator", flops(cost.flops.generator)));
        rows.extend((cost.scorings > 0).then(|| ("– scorer", flops(cost.flops.scorer))));
        rows.extend((cost.extractions > 0).then(|| ("– features", flops(cost.flops.features))));
    }
    table(
        rows.into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    )
}

/// Seconds of each phase, with a bar for the share.
fn time(trace: &Trace) -> String {
    let seconds = &trace.cost.seconds;
    let phases = [
        ("text", seconds.text),
        ("transformer", seconds.transformer.iter().sum()),
        ("decode", seconds.decode),
        ("features", seconds.features),
        ("scorer", seconds.scorer),
        ("selection", seconds.selection),
    ];
    let known: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
    let rest = ("other", (seconds.total - known).max(0.0));
    let whole = seconds.total.max(known).max(f64::MIN_POSITIVE);
    let row = |(name, seconds): (&str, f64)| {
        let share = 100.0 * seconds / whole;
        let bar = format!("<i class=\"bar\" style=\"--share: {share:.1}%\"></i>");
        (name.to_owned(), format!("{seconds:.2} s<td>{bar}"))
    };
    let total = ("total".to_owned(), format!("{:.2} s<td>", seconds.total));
    table(phases.into_iter().chain([rest]).map(row).chain([total]))
}

fn settings(trace: &Trace) -> String {
    let named = trace
        .settings
        .iter()
        .filter_map(|(name, of)| Some((name.clone(), escaped(&value(of)?))));
    let preview = trace
        .preview
        .map_or("full size".to_owned(), |pixels| format!("{pixels} pixels"));
    let more = [("seed", trace.seed.to_string()), ("previews", preview)];
    table(named.chain(more.map(|(name, value)| (name.to_owned(), value))))
}

/// The work at each scale.
fn scales(trace: &Trace) -> String {
    let cost = &trace.cost;
    let number =
        |list: &[usize], scale: usize| list.get(scale).map_or("–".to_owned(), usize::to_string);
    let row = |(scale, [height, width]): (usize, &[usize; 2])| {
        let seconds = cost.seconds.transformer.get(scale).copied().unwrap_or(0.0);
        let stage = trace
            .plan
            .stage(scale)
            .map(|stage| format!("{} → {}", stage.select, stage.width));
        format!(
            "<tr><th>{scale}<td>{height} × {width}<td>{}<td>{}<td>{seconds:.2}<td>{}\n",
            number(&cost.rows, scale),
            number(&cost.states, scale),
            escaped(&stage.unwrap_or_default()),
        )
    };
    let rows: String = trace.scales.iter().enumerate().map(row).collect();
    format!(
        "<div class=\"wide\"><table class=\"scales\">\n\
         <tr><th>scale<th>grid<th>rows<th>states<th>seconds<th>selection\n{rows}</table></div>\n"
    )
}
