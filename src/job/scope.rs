//! What a pass is restricted to.

use std::sync::Arc;

use super::choice::Choice;
use crate::names::PolicyIndex;

/// What to restrict a pass to; `None` is no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Names of devices.
    pub devices: Option<Vec<String>>,
    pub partitions: Option<Vec<u64>>,
    /// Indices of policies.
    pub policies: Option<Vec<u64>>,
    /// Numbers that were asked for and that nothing can have, with their options.
    pub negative: Vec<(&'static str, i64)>,
    /// What partitions are meant, where their numbers do not say it.
    pub(crate) choice: Option<Choice>,
}

impl Overrides {
    /// Whether a pass would leave anything out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the device of this name is to be replicated.
    pub fn wants_device(&self, name: &str) -> bool {
        self.devices.as_ref().is_none_or(|wanted| wanted.iter().any(|wanted| wanted == name))
    }

    /// Whether the policy is to be replicated.
    pub fn wants_policy(&self, index: PolicyIndex) -> bool {
        self.policies.as_ref().is_none_or(|wanted| wanted.contains(&index.number().into()))
    }
}

/// Which of the local devices a pass has, where others have the rest. It is asked whenever a device comes up, for rings
/// change while a pass runs.
pub(crate) trait Share: Send + Sync {
    /// Whether the device is part of the share.
    fn takes(&self, device: &str) -> bool;
}

/// What a pass is for.
#[derive(Clone)]
pub(crate) struct Scope {
    pub overrides: Arc<Overrides>,
    /// `None`: all devices.
    pub share: Option<Arc<dyn Share>>,
}

impl Scope {
    /// Whether the local device of this name is to be replicated.
    pub(crate) fn wants_device(&self, name: &str) -> bool {
        self.overrides.wants_device(name) && self.share.as_ref().is_none_or(|share| share.takes(name))
    }
}
