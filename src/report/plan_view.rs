//! What every step of a plan would change, route by route.

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Layout, Palette, Table, Tone, View, escape, forecast, phrase};
use crate::istio::{Route, Selection, Split, VirtualService, Weights};
use crate::plan::{
    AddressSource, Finding, Forecast, HumanDuration, Level, Plan, PlannedStep, shell_word,
};
use crate::rollout::{ObjectName, Phase, Rollout};

/// A plan on an object, before anything has moved.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The format's version.
    pub version: u32,
    /// The VirtualService's namespace.
    pub namespace: String,
    /// The VirtualService's name.
    pub name: String,
    /// The stable version.
    pub stable: String,
    /// The canary.
    pub canary: String,
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// The chosen routes; those of other objects with their object's name.
    pub routes: Vec<PlannedRoute>,
    /// The companions that are shifted together with it, in the order in which they are patched.
    pub companions: Vec<ObjectName>,
    /// Routes that keep sending to stable.
    pub left_behind: Vec<String>,
    /// The minimum time of the whole, pauses aside.
    pub minimum: HumanDuration,
    /// Every option decided.
    pub plan: Plan,
    /// Where the plan's address of Prometheus comes from.
    pub prometheus_from: AddressSource,
    /// A digest of the plan.
    pub plan_hash: String,
    /// What is to be expected; `null` where the traffic is not known.
    pub forecast: Option<Forecast>,
    /// The flags that the plan was asked for with, as a shell takes them.
    pub arguments: String,
    /// The command that starts the planned rollout; `null` where a finding forbids it.
    pub next: Option<String>,
    /// The chosen routes as words of a shell, where the canary's name alone fits destinations of others as well.
    #[serde(skip)]
    narrowed_to: Vec<String>,
    /// The canary as a flag names it: its host in full, where others are called the same.
    #[serde(skip)]
    canary_word: String,
    /// What preflight found.
    pub findings: Vec<Finding>,
    /// Whether a finding forbids the start.
    pub refused: bool,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedRoute {
    /// `http[primary]`.
    pub route: String,
    /// The position of stable in the lists.
    pub stable: usize,
    /// The position of the canary in the lists.
    pub canary: usize,
    /// The weights now.
    pub now: Weights,
    /// The weights at each step.
    pub steps: Vec<Weights>,
}

impl PlanView {
    /// What `plan` would do to the chosen routes of `vs`.
    ///
    /// The weights come from the same code that sets them in a rollout.
    pub fn of(
        vs: &VirtualService,
        selection: &Selection,
        plan: &Plan,
        mut findings: Vec<Finding>,
    ) -> Self {
        Finding::sort(&mut findings);
        // A rollout is only a value until it is written to the object; this one never is.
        let rollout = Rollout::new(
            String::new(),
            String::new(),
            plan.clone(),
            (
                selection.stable.clone(),
                selection.canary.clone(),
                selection.splits.clone(),
            ),
            Timestamp::UNIX_EPOCH,
        );
        let stages = stages(&rollout);
        let routes = selection.splits.iter();
        let routes = routes.map(|split| PlannedRoute::of(vs, split, &stages));
        let steps = plan.planned_steps(rollout.original_share());
        Self {
            version: 1,
            namespace: vs.namespace().to_owned(),
            name: vs.name().to_owned(),
            stable: selection.stable.to_string(),
            canary: selection.canary.to_string(),
            minimum: minimum(&steps),
            steps,
            routes: routes.collect(),
            companions: Vec::new(),
            left_behind: selection.left_behind.clone(),
            plan: plan.clone(),
            prometheus_from: AddressSource::default(),
            plan_hash: plan.hash(),
            refused: Finding::refuses(&findings),
            forecast: None,
            arguments: String::new(),
            next: None,
            narrowed_to: narrowed_to(vs, selection),
            canary_word: canary_word(vs, selection),
            findings,
        }
        .with_arguments(&ObjectName::of(vs), String::new())
    }

    /// The same with what is to be expected.
    #[must_use]
    pub fn with_forecast(self, forecast: Option<Forecast>) -> Self {
        Self { forecast, ..self }
    }

    /// The same with where the address of Prometheus comes from.
    #[must_use]
    pub fn with_address_source(self, prometheus_from: AddressSource) -> Self {
        Self {
            prometheus_from,
            ..self
        }
    }

    /// The same with the object and the flags that it was asked for with. A root's routes have other names
    /// than its delegate's, so what comes next names the root.
    #[must_use]
    pub fn with_arguments(self, asked: &ObjectName, arguments: String) -> Self {
        let view = Self { arguments, ..self };
        let next = (!view.refused).then(|| view.start(asked));
        Self { next, ..view }
    }

    /// The command that starts the planned rollout.
    fn start(&self, asked: &ObjectName) -> String {
        let command = format!("kubectl canary start {} -n {}", asked.name, asked.namespace);
        let arguments = self.arguments.as_str();
        // The same command once more is to do nothing, not to go back.
        let is_named = ["--canary ", "--stable ", "-f "]
            .iter()
            .any(|flag| arguments.contains(flag));
        let canary = (!is_named).then(|| format!("--canary {}", shell_word(&self.canary_word)));
        // A root calls its routes otherwise.
        let is_own = (&asked.namespace, &asked.name) == (&self.namespace, &self.name);
        let narrow = canary.is_some() && is_own && !arguments.contains("--route ");
        let routes = self.narrowed_to.iter().filter(|_| narrow);
        let routes: Vec<_> = routes.map(|route| format!("--route {route}")).collect();
        let routes = routes.join(" ");
        let words = [
            Some(command.as_str()),
            canary.as_deref(),
            Some(routes.as_str()),
            Some(arguments),
        ];
        let words: Vec<_> = words
            .into_iter()
            .flatten()
            .filter(|word| !word.is_empty())
            .collect();
        words.join(" ")
    }

    /// `1 % for 1m, 50 % for 1m, then until promote`.
    fn holds(&self) -> String {
        let holds: Vec<_> = self.steps.iter().map(hold).collect();
        holds.join(", ")
    }
}

/// The chosen routes, where what the canary is called could be another destination of the object, too.
fn narrowed_to(vs: &VirtualService, selection: &Selection) -> Vec<String> {
    if !is_of_several(vs, selection, &canary_word(vs, selection)) {
        return Vec::new();
    }
    let chosen = selection.splits.iter().filter_map(|split| split.find(vs));
    chosen.map(Route::word).collect()
}

/// Whether a name of the canary fits another destination of the object, too.
fn is_of_several(vs: &VirtualService, selection: &Selection, name: &str) -> bool {
    let mut targets = vs.routes().iter().flat_map(|route| &route.targets);
    targets.any(|target| {
        let other = &target.destination;
        other.is_called(name) && !other.same_version(&selection.canary)
    })
}

fn canary_word(vs: &VirtualService, selection: &Selection) -> String {
    let canary = &selection.canary;
    let name = canary.to_string();
    match canary.subset.is_none() && is_of_several(vs, selection, &name) {
        true => canary.host.to_string(),
        false => name,
    }
}

/// The rollout at each of its steps.
pub(super) fn stages(rollout: &Rollout) -> Vec<Rollout> {
    (0..rollout.plan.step_count())
        .map(|step| rollout.at_step(step, Phase::Progressing, rollout.began))
        .collect()
}

/// The minimum time of all steps together.
pub(super) fn minimum(steps: &[PlannedStep]) -> HumanDuration {
    let holds = steps.iter().filter(|step| !step.skipped);
    let holds = holds.map(|step| step.hold.signed());
    holds
        .fold(SignedDuration::ZERO, SignedDuration::saturating_add)
        .into()
}

impl PlannedRoute {
    pub(super) fn of(vs: &VirtualService, split: &Split, stages: &[Rollout]) -> Self {
        Self {
            route: split
                .find(vs)
                .map_or_else(|| split.id.to_string(), ToString::to_string),
            stable: split.stable,
            canary: split.canary,
            now: split.original.clone(),
            steps: stages.iter().map(|stage| stage.weights_of(split)).collect(),
        }
    }
}

fn hold(step: &PlannedStep) -> String {
    let title = step.exposure;
    match (step.skipped, step.pause) {
        (true, _) => format!("{title} skipped"),
        (false, true) => format!("{title} for {}, then until promote", step.hold),
        (false, false) => format!("{title} for {}", step.hold),
    }
}

impl View for PlanView {
    fn names(&self) -> Vec<&str> {
        vec![&self.name]
    }

    fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()> {
        let palette = layout.palette;
        let object = format!("{}/{}", self.namespace, self.name);
        writeln!(
            out,
            "{}   {} -> {}   plan {}\n",
            palette.paint(Tone::Strong, escape(&object)),
            escape(&self.stable),
            escape(&self.canary),
            self.plan_hash
        )?;
        let weights = self.steps.iter().map(|step| step.exposure.to_string());
        let titles = ["ROUTE".to_owned(), "NOW".to_owned()];
        let mut table =
            Table::new(titles.into_iter().chain(weights)).without_headers(layout.without_headers);
        for route in &self.routes {
            let words = |weights: &Weights| phrase::weights(weights, route.stable, route.canary);
            let mut cells = vec![route.route.clone(), words(&route.now)];
            cells.extend(route.steps.iter().map(words));
            table.row(cells);
        }
        table.write(out, "")?;
        writeln!(out)?;
        for route in &self.left_behind {
            let text = format!(
                "{} keeps sending to {}",
                escape(route),
                escape(&self.stable)
            );
            let word = palette.paint(Tone::Caution, format!("{:<9}", "excluded"));
            writeln!(out, "{word}{text}")?;
        }
        writeln!(
            out,
            "{:<9}{}; at least {}",
            "steps",
            self.holds(),
            self.minimum
        )?;
        let address = escape(&self.plan.prometheus);
        let from = self.prometheus_from;
        match self.plan.samples_pods() {
            true => writeln!(
                out,
                "{:<9}the pods of both versions; the past of {} from {address} ({from})",
                "metrics",
                escape(&self.stable)
            )?,
            false => writeln!(out, "{:<9}{address} ({from})", "metrics")?,
        }
        if let Some(expected) = &self.forecast {
            forecast::show(expected, &self.stable, out, layout)?;
        }
        for finding in &self.findings {
            show_finding(finding, out, palette)?;
        }
        if let Some(next) = &self.next {
            writeln!(out, "{:<9}{}", "next", escape(next))?;
        }
        Ok(())
    }
}

fn show_finding(finding: &Finding, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
    let (word, tone) = match finding.level {
        Level::Ok => ("ok", Tone::Good),
        Level::Warn => ("warn", Tone::Caution),
        Level::Refuse => ("refuse", Tone::Bad),
    };
    let word = palette.paint(tone, format!("{word:<9}"));
    match &finding.why {
        Some(why) => writeln!(out, "{word}{}: {}", escape(&finding.what), escape(why))?,
        None => writeln!(out, "{word}{}", escape(&finding.what))?,
    }
    if let Some(fix) = &finding.fix {
        writeln!(out, "{:<9}(try: {})", "", escape(fix))?;
    }
    for line in finding.snippet.iter().flat_map(|snippet| snippet.lines()) {
        writeln!(out, "{:<11}{}", "", escape(line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::select_versions;
    use crate::plan::Options;
    use serde_json::json;

    fn view(canary: i64, findings: Vec<Finding>) -> PlanView {
        let split = |name: &str, total: i64, rest: i64| {
            json!({"name": name, "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": total - canary},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": canary},
                {"destination": {"host": "reviews", "subset": "old"}, "weight": rest},
            ]})
        };
        let vs = VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
            "spec": {"http": [
                split("primary", 100, 0),
                split("mobile", 80, 20),
                {"name": "internal", "route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
            ]},
        }))
        .unwrap();
        let selection = select_versions(&vs, Some("v1"), Some("v2"), &[], &[]).unwrap();
        let options = Options {
            steps: Some("2,10,50:pause,100:10m".parse().unwrap()),
            ..Options::default()
        };
        PlanView::of(&vs, &selection, &Plan::resolve(options).unwrap(), findings)
    }

    fn shown(view: &PlanView) -> String {
        let mut out = Vec::new();
        view.show(&mut out, Layout::default()).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.replace(&view.plan_hash, "HASH")
    }

    #[test]
    fn every_step_of_every_route_is_shown_in_advance() {
        let findings = vec![
            Finding::ok("Prometheus answers"),
            Finding::warn(
                "users flip between versions",
                "consistentHash is applied after the weights are drawn",
                "a match on a header for testers",
            ),
        ];
        insta::assert_snapshot!(shown(&view(0, findings)), @"
        shop/reviews   v1 -> v2   plan HASH

        ROUTE           NOW              2 %              10 %             50 %              100 %
        http[primary]   100/0            98/2             90/10            50/50             0/100
        http[mobile]    80/0 beside 20   79/1 beside 20   72/8 beside 20   40/40 beside 20   0/80 beside 20

        excluded http[internal] keeps sending to v1
        steps    2 % for 1m, 10 % for 1m, 50 % for 1m, then until promote, 100 % for 10m; at least 13m
        metrics  istio-system/prometheus:9090 (default)
        warn     users flip between versions: consistentHash is applied after the weights are drawn
                 (try: a match on a header for testers)
        ok       Prometheus answers
        next     kubectl canary start reviews -n shop --canary v2
        ");
    }

    #[test]
    fn what_the_canary_has_is_not_taken_away() {
        let view = view(10, vec![]);
        let skipped: Vec<_> = view.steps.iter().map(|step| step.skipped).collect();
        assert_eq!(
            skipped,
            [true, false, false, false],
            "the step that equals it is judged"
        );
        assert_eq!(view.routes[0].steps[0], view.routes[0].now);
        assert_eq!(view.minimum.to_string(), "12m");
    }

    #[test]
    fn a_refused_plan_names_no_start() {
        let refusal = Finding::refuse(
            "subset v2 has no ready pod\u{1b}[2J",
            "requests would fail at once",
            "kubectl rollout status deployment/reviews-v2 -n shop",
        )
        .with_snippet("spec:\n  replicas: 2\u{1b}");
        let view = view(0, vec![refusal]);
        let text = shown(&view);
        assert!(view.refused);
        assert!(
            !text.contains("canary start") && !text.contains('\u{1b}'),
            "{text:?}"
        );
        assert!(text.contains("refuse   subset v2 has no ready pod^[[2J: requests would fail at once\n         (try: kubectl rollout status"), "{text}");
        let snippet = "n shop)\n           spec:\n             replicas: 2^[\n";
        assert!(text.contains(snippet), "{text}");
    }

    #[test]
    fn programs_read_the_same_in_json() {
        let json = serde_json::to_value(view(0, vec![Finding::ok("fine")])).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["steps"][2]["pause"], true);
        assert_eq!(json["steps"][3]["hold"], "10m");
        assert_eq!(json["routes"][1]["steps"][1], json!([72, 8, 20]));
        assert_eq!(json["leftBehind"], json!(["http[internal]"]));
        assert_eq!(json["findings"][0]["level"], "ok");
        assert_eq!(json["refused"], false);
    }
}
