//! Collects what was found, under the names that people know.

use std::collections::BTreeMap;

use super::anomaly::{Anomaly, AnomalyKind};
use super::event::Place;
use super::value::Value;

/// Collects what was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    names: BTreeMap<u32, String>,
    found: Vec<Anomaly>,
}

/// What an anomaly is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) offset: Option<u64>,
    pub(super) value: Option<Value>,
}

impl Spot {
    pub(super) fn at(place: Place, offset: u64) -> Self {
        Self { place, offset: Some(offset), value: None }
    }

    pub(super) fn value(self, value: Option<Value>) -> Self {
        Self { value, ..self }
    }
}

impl Report {
    pub(super) fn name(&mut self, topic: u32, name: &str) {
        self.names.insert(topic, name.to_owned());
    }

    /// Everything since it was last asked.
    pub(super) fn take(&mut self) -> Vec<Anomaly> {
        std::mem::take(&mut self.found)
    }

    /// Notes that a letter is gone.
    pub(super) fn note_letter(&mut self, group: u32, value: Value) {
        let topic = format!("letters of group {group}");
        let (partition, offset, value) = (None, None, Some(value));
        let (kind, detail) = (AnomalyKind::LetterLost, "it was listed before".to_owned());
        self.found.push(Anomaly { kind, topic, partition, offset, value, detail });
    }

    pub(super) fn note(&mut self, kind: AnomalyKind, spot: Spot, detail: String) {
        let Spot { place, offset, value } = spot;
        let topic = self.name_of(place.topic);
        let partition = Some(place.partition);
        self.found.push(Anomaly { kind, topic, partition, offset, value, detail });
    }

    pub(super) fn note_topic(&mut self, kind: AnomalyKind, topic: u32, detail: &str) {
        let name = self.name_of(topic);
        let (partition, offset, value) = (None, None, None);
        let detail = detail.to_owned();
        self.found.push(Anomaly { kind, topic: name, partition, offset, value, detail });
    }

    fn name_of(&self, topic: u32) -> String {
        self.names.get(&topic).map_or_else(|| format!("topic {topic}"), Clone::clone)
    }
}
