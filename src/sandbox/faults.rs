//! Scripted faults: what goes wrong, for which calls, how often and when.

use std::time::Duration;

use jiff::Timestamp;

use super::prometheus::PrometheusFault;

/// One thing that is wrong with the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum ApiFault {
    /// It answers with this HTTP status.
    Answer {
        /// 500, 503, 504, 429 and so on.
        code: u16,
        /// Seconds of a `Retry-After` header.
        retry_after: Option<u32>,
        /// Whether the call is carried out all the same: the answer does not show it.
        applied: bool,
    },
    /// It never answers.
    Hang {
        /// Whether the call is carried out all the same.
        applied: bool,
    },
    /// The connection breaks.
    Reset {
        /// Whether the call is carried out all the same.
        applied: bool,
    },
    /// It never answers, and carries the call out this much later all the same: it was in the network.
    Late(Duration),
    /// istiod cannot be reached, so its webhook fails and with it the write.
    WebhookDown,
    /// istiod's webhook denies the write for this reason.
    WebhookDenies(String),
    /// A watch is answered that its resourceVersion is too old.
    Gone,
    /// A watch ends as soon as it has begun.
    EndWatch,
    /// It answers that there is no such object.
    NotFound,
    /// A watch begins and is never heard of again, as through a proxy that has lost the connection.
    SilentWatch,
    /// The answer takes this long.
    Slow(Duration),
}

/// A fault and the calls it applies to; without conditions all of them, for ever.
#[derive(Clone, Debug)]
pub struct Rule<F> {
    fault: F,
    verb: Option<String>,
    resource: Option<String>,
    user: Option<String>,
    containing: Option<String>,
    skip: u32,
    times: Option<u32>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl<F> Rule<F> {
    /// This fault for every call.
    pub fn new(fault: F) -> Self {
        Self {
            fault,
            verb: None,
            resource: None,
            user: None,
            containing: None,
            skip: 0,
            times: None,
            from: None,
            until: None,
        }
    }

    /// Only for this verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    #[must_use]
    pub fn on(mut self, verb: &str) -> Self {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Only for this resource: `virtualservices`, `leases` and so on.
    #[must_use]
    pub fn of(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only for calls of this user.
    #[must_use]
    pub fn by(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Only where path, query or body contain this text.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.containing = Some(text.to_owned());
        self
    }

    /// Not for the first `calls` of those calls.
    #[must_use]
    pub fn after(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    /// For so many calls, then no more.
    #[must_use]
    pub fn times(mut self, calls: u32) -> Self {
        self.times = Some(calls);
        self
    }

    /// From this time on.
    #[must_use]
    pub fn from(mut self, at: Timestamp) -> Self {
        self.from = Some(at);
        self
    }

    /// Until this time.
    #[must_use]
    pub fn until(mut self, at: Timestamp) -> Self {
        self.until = Some(at);
        self
    }

    /// Whether the fault applies to this call; counts the call if so.
    fn strikes(&mut self, context: &FaultContext<'_>) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        let due = is(&self.verb, context.verb)
            && is(&self.resource, context.resource)
            && is(&self.user, context.user)
            && self.from.is_none_or(|from| from <= context.at)
            && self.until.is_none_or(|until| context.at < until)
            && self
                .containing
                .as_deref()
                .is_none_or(|text| context.contains(text))
            && self.times != Some(0);
        if !due {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(times) = &mut self.times {
            *times -= 1;
        }
        true
    }
}

/// The call that a fault may apply to.
#[derive(Debug)]
pub(crate) struct FaultContext<'a> {
    pub at: Timestamp,
    pub verb: &'a str,
    pub resource: &'a str,
    pub user: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub body: &'a [u8],
}

impl FaultContext<'_> {
    fn contains(&self, text: &str) -> bool {
        self.path.contains(text)
            || self.query.contains(text)
            || String::from_utf8_lossy(self.body).contains(text)
    }
}

/// Everything that is to go wrong.
#[derive(Debug, Default)]
pub struct Faults {
    api: Vec<Rule<ApiFault>>,
    prometheus: Vec<Rule<PrometheusFault>>,
}

impl Faults {
    /// Adds a fault of the API server.
    pub fn api(&mut self, rule: Rule<ApiFault>) -> &mut Self {
        self.api.push(rule);
        self
    }

    /// Adds a fault of Prometheus.
    pub fn prometheus(&mut self, rule: Rule<PrometheusFault>) -> &mut Self {
        self.prometheus.push(rule);
        self
    }

    /// Every VirtualService write fails as when istiod is down, until the rule's conditions end it.
    pub fn istiod_down(&mut self, when: impl Fn(Rule<ApiFault>) -> Rule<ApiFault>) -> &mut Self {
        for verb in ["create", "update", "patch"] {
            let rule = Rule::new(ApiFault::WebhookDown)
                .of("virtualservices")
                .on(verb);
            self.api.push(when(rule));
        }
        self
    }

    /// Nothing goes wrong any more.
    pub fn clear(&mut self) {
        self.api.clear();
        self.prometheus.clear();
    }

    pub(crate) fn of_api(&mut self, context: &FaultContext<'_>) -> Vec<ApiFault> {
        strike(&mut self.api, context)
    }

    pub(crate) fn of_prometheus(&mut self, context: &FaultContext<'_>) -> Vec<PrometheusFault> {
        strike(&mut self.prometheus, context)
    }
}

fn strike<F: Clone>(rules: &mut Vec<Rule<F>>, context: &FaultContext<'_>) -> Vec<F> {
    let struck = rules
        .iter_mut()
        .filter_map(|rule| rule.strikes(context).then(|| rule.fault.clone()))
        .collect();
    rules.retain(|rule| rule.times != Some(0));
    struck
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(verb: &'static str, second: i64) -> FaultContext<'static> {
        FaultContext {
            at: Timestamp::from_second(second).unwrap(),
            verb,
            resource: "virtualservices",
            user: "",
            path: "/x",
            query: "",
            body: b"",
        }
    }

    #[test]
    fn a_rule_strikes_the_calls_it_names_and_no_others() {
        let mut faults = Faults::default();
        let rule = Rule::new(ApiFault::Reset { applied: false });
        faults.api(rule.on("patch").after(1).times(2));
        let mut struck = |verb| !faults.of_api(&context(verb, 0)).is_empty();
        let seen = ["get", "patch", "patch", "get", "patch", "patch"].map(&mut struck);
        assert_eq!(seen, [false, false, true, false, true, false]);
    }

    #[test]
    fn a_rule_keeps_to_its_time() {
        let mut faults = Faults::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        faults.api(Rule::new(ApiFault::WebhookDown).from(at(10)).until(at(20)));
        let mut struck = |second| !faults.of_api(&context("patch", second)).is_empty();
        assert_eq!([9, 10, 19, 20].map(&mut struck), [false, true, true, false]);
    }
}
