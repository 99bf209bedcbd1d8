//! One line of the data as an event: just enough JSON for it, and no dependency.

use brooklet::{Record, Timestamp};

/// What the log is given of an earthquake: the whole line as value, the network as key, the time.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    /// The line as it stands in the file, without its end.
    pub(crate) line: &'a str,
    /// The seismic network that reported the event.
    pub(crate) network: &'a str,
    /// When it happened.
    pub(crate) time: Timestamp,
    /// What it was: an earthquake, unless the line says something else.
    pub(crate) kind: &'a str,
    /// How strong it was, if that is known.
    pub(crate) magnitude: Option<f64>,
}

impl<'a> Event<'a> {
    /// Reads one flat JSON object, and checks that it is one.
    ///
    /// # Errors
    /// What is wrong with the line, in words.
    pub(crate) fn parse(line: &'a str) -> Result<Self, String> {
        let inner = line.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let inner = inner.ok_or("not a JSON object")?;
        let (mut network, mut time, mut magnitude) = (None, None, None);
        let mut kind = "earthquake";
        let (mut quoted, mut escaped) = (false, false);
        let fields = inner.split(|char| {
            quoted ^= char == '"' && !escaped;
            escaped = quoted && char == '\\' && !escaped;
            char == ',' && !quoted
        });
        for field in fields {
            let (name, value) = field.split_once(':').ok_or("a field without a value")?;
            let name =
                string(name).ok_or_else(|| format!("{name:?} is not the name of a field"))?;
            let value = value.trim();
            let is_literal =
                matches!(value, "null" | "true" | "false") || value.parse::<f64>().is_ok();
            if string(value).is_none() && !is_literal {
                return Err(format!("the value of {name:?} is not a text, number or literal"));
            }
            match name {
                "net" => network = string(value),
                "type" => kind = string(value).unwrap_or("unknown"),
                "mag" => magnitude = value.parse().ok(),
                "time" => time = value.parse().ok().map(Timestamp::from_millis),
                _ => {}
            }
        }
        let network = network.ok_or("no text in \"net\"")?;
        let time = time.ok_or("no whole number of milliseconds in \"time\"")?;
        Ok(Self { line, network, time, kind, magnitude })
    }

    /// The record that holds the event.
    pub(crate) fn record(&self) -> Record<'a> {
        Record::new(self.line).key(self.network).timestamp(self.time)
    }
}

/// What stands between the quotes of a JSON text, escapes and all.
fn string(quoted: &str) -> Option<&str> {
    let text = quoted.trim().strip_prefix('"')?.strip_suffix('"')?;
    let mut escaped = false;
    let ends_early = text.chars().any(|char| {
        let is_end = char == '"' && !escaped;
        escaped = char == '\\' && !escaped;
        is_end
    });
    (!ends_early && !escaped).then_some(text)
}
