//! Random lives of groups, and the model that they are compared with.

use std::time::Duration;

#[path = "../../tests/it/groups/dice.rs"]
mod dice;
#[path = "../../tests/it/groups/model/mod.rs"]
pub(crate) mod model;

const NOW: Duration = Duration::ZERO;
