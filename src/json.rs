//! Typed payloads: values that are JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind};
use crate::record::{Record, RecordRef, StoredRecord};

impl Record<'_> {
    /// A record whose value is this one as JSON.
    ///
    /// # Errors
    /// `InvalidRecord` if it cannot be told as JSON, such as a map whose keys are not texts.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct Order {
    ///     id: u64,
    ///     total: String,
    /// }
    ///
    /// let log = Log::in_memory()?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// let order = Order { id: 42, total: "9.90 EUR".to_owned() };
    /// log.producer("orders")?.send(Record::json(&order)?.key("42"))?;
    /// let stored = log.reader("orders").stop_at_end().open()?.next().expect("one record")?;
    /// assert_eq!(stored.json::<Order>()?, order);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(value);
        let refused = |error: serde_json::Error| {
            Error::new(ErrorKind::InvalidRecord, format!("no JSON can be made of it: {error}"))
        };
        Ok(Self::owning(bytes.map_err(refused)?))
    }
}

impl RecordRef<'_> {
    /// The value, read as JSON.
    ///
    /// # Errors
    /// `InvalidRecord` if there is no value, or it is not the JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        decode(self.value())
    }
}

impl StoredRecord {
    /// The value, read as JSON.
    ///
    /// # Errors
    /// `InvalidRecord` if there is no value, or it is not the JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        decode(self.value())
    }
}

fn decode<T: DeserializeOwned>(value: Option<&[u8]>) -> Result<T, Error> {
    let refused = |text: String| Error::new(ErrorKind::InvalidRecord, text);
    let value = value.ok_or_else(|| refused("it has no value".to_owned()))?;
    serde_json::from_slice(value)
        .map_err(|error| refused(format!("its value is not the JSON expected: {error}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::error::ErrorKind;
    use crate::record::Record;

    /// A value that has no JSON would be sent as something else, or stop the program.
    #[test]
    fn what_cannot_be_told_as_json_is_refused() {
        let error = Record::json(&BTreeMap::from([(vec![1, 2], 3)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord);
        assert!(error.to_string().contains("key must be a string"), "{error}");
    }

    /// A foreign value would be taken for one of ours.
    #[test]
    fn what_is_not_the_json_expected_is_told() {
        for value in [None, Some(&b"{\"id\""[..]), Some(b"[1]"), Some(b"\xff")] {
            let error = super::decode::<BTreeMap<String, u64>>(value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{value:?}");
        }
        let decoded = super::decode::<BTreeMap<String, u64>>(Some(b"{\"id\":7}")).unwrap();
        assert_eq!(decoded.get("id"), Some(&7));
    }
}
