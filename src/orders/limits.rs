//! Limits that can be changed while passes run: by an order, or by quiet hours. An order counts for more.

use serde::{Deserialize, Serialize};

use super::Order;
use super::limit::Limit;
use super::moment::Moment;
use super::quiet_hours::QuietHours;

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Configured {
    pub concurrency: usize,
    pub rsync_bwlimit: String,
    pub quiet_hours: Option<QuietHours>,
}

/// A limit that was ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SetLimit {
    pub name: Limit,
    pub value: String,
    #[serde(flatten)]
    pub order: Order,
}

/// Why a limit is what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    Configuration,
    /// The hours.
    QuietHours(String),
    Order(Order),
}

/// A limit as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LimitInForce {
    pub name: Limit,
    pub value: String,
    /// What the option in the configuration says.
    pub configured: String,
    pub why: Why,
}

/// All limits.
#[derive(Debug, Default)]
pub(super) struct Limits {
    configured: Configured,
    set: Vec<SetLimit>,
}

impl Limits {
    pub(super) fn configure(&mut self, configured: Configured) {
        self.configured = configured;
    }

    pub(super) fn quiet_hours(&self) -> Option<&QuietHours> {
        self.configured.quiet_hours.as_ref()
    }

    pub(super) fn set(&mut self, limit: Limit, value: Option<&str>, order: &Order) {
        self.set.retain(|set| set.name != limit);
        self.set.extend(value.map(|value| SetLimit { name: limit, value: value.to_owned(), order: order.clone() }));
    }

    /// Those that were ordered and hold.
    pub(super) fn set_by_order(&self, now: f64) -> impl Iterator<Item = &SetLimit> {
        self.set.iter().filter(move |set| set.order.holds(now))
    }

    /// What an order or quiet hours say.
    fn special(&self, limit: Limit, now: Moment) -> Option<(String, Why)> {
        let ordered = self.set_by_order(now.unix).find(|set| set.name == limit);
        if let Some(SetLimit { value, order, .. }) = ordered {
            return Some((value.clone(), Why::Order(order.clone())));
        }
        let hours = self.quiet_hours().filter(|hours| hours.contain(now.minute))?;
        Some((hours.limit(limit)?.to_owned(), Why::QuietHours(hours.hours())))
    }

    pub(super) fn value(&self, limit: Limit, now: Moment) -> Option<String> {
        self.special(limit, now).map(|(value, _)| value)
    }

    pub(super) fn in_force(&self, now: Moment) -> Vec<LimitInForce> {
        let in_force = |name: Limit| {
            let configured = match name {
                Limit::Concurrency => self.configured.concurrency.to_string(),
                Limit::RsyncBwlimit => self.configured.rsync_bwlimit.clone(),
            };
            let (value, why) = self.special(name, now).unwrap_or_else(|| (configured.clone(), Why::Configuration));
            LimitInForce { name, value, configured, why }
        };
        Limit::ALL.map(in_force).into()
    }

    /// Takes out those whose time is over.
    pub(super) fn expire(&mut self, now: f64) -> Vec<SetLimit> {
        self.set.extract_if(.., |set| !set.order.holds(now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::order;
    use super::*;

    fn limits() -> Limits {
        let mut limits = Limits::default();
        let quiet_hours = Some(QuietHours::parse("08:00-19:00 concurrency=1").unwrap());
        limits.configure(Configured { concurrency: 8, rsync_bwlimit: "0".into(), quiet_hours });
        limits
    }

    #[test]
    fn an_order_counts_for_more_than_quiet_hours_and_those_for_more_than_the_option() {
        let (night, day) = (Moment { unix: 150.0, minute: 60 }, Moment { unix: 150.0, minute: 600 });
        let mut limits = limits();
        assert_eq!(limits.value(Limit::Concurrency, night), None);
        assert_eq!(limits.value(Limit::Concurrency, day).as_deref(), Some("1"));
        assert_eq!(limits.value(Limit::RsyncBwlimit, day), None);
        limits.set(Limit::Concurrency, Some("4"), &order(Some(200.0)));
        assert_eq!(limits.value(Limit::Concurrency, day).as_deref(), Some("4"));
        let [concurrency, bwlimit] = &limits.in_force(day)[..] else { panic!("two limits") };
        assert_eq!((concurrency.configured.as_str(), &concurrency.why), ("8", &Why::Order(order(Some(200.0)))));
        assert_eq!((bwlimit.value.as_str(), &bwlimit.why), ("0", &Why::Configuration));
        let later = Moment { unix: 200.0, ..day };
        assert_eq!(limits.in_force(later)[0].why, Why::QuietHours("08:00-19:00".into()));
        limits.set(Limit::Concurrency, None, &order(None));
        assert_eq!(limits.value(Limit::Concurrency, day).as_deref(), Some("1"));
    }
}
