//! The status of many rollouts, as a table.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::status::StatusRow;
use super::{Layout, Table, Tone, View, age, escape};
use crate::rollout::Outcome;

/// Where many rollouts stand.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusList {
    /// The format's version.
    pub version: u32,
    /// One for each VirtualService.
    pub items: Vec<StatusRow>,
}

impl StatusList {
    /// A list of these rows, by namespace and name.
    pub fn new(mut items: Vec<StatusRow>) -> Self {
        items.sort_by(|left, right| {
            (&left.namespace, &left.name).cmp(&(&right.namespace, &right.name))
        });
        Self { version: 1, items }
    }

    /// What is wrong with rows that could not be read; for stderr, since a table has no room for it.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.items.iter().filter_map(|row| row.error.as_deref());
        errors.map(|error| escape(error).into_owned()).collect()
    }
}

impl View for StatusList {
    fn names(&self) -> Vec<&str> {
        self.items.iter().map(|row| row.name.as_str()).collect()
    }

    fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()> {
        let mut titles = vec!["NAME", "STEP", "WEIGHT", "PHASE", "AGE", "DRIVER", "SEEN"];
        if layout.namespaced {
            titles.insert(0, "NAMESPACE");
        }
        if layout.wide {
            titles.extend(["STABLE", "CANARY", "HOLDER", "ROUTES", "LAST"]);
        }
        let together = layout.wide && self.items.iter().any(|row| group(row).is_some());
        if together {
            titles.push("WITH");
        }
        let mut table = Table::new(titles)
            .without_headers(layout.without_headers)
            .in_colors(layout.palette);
        for row in &self.items {
            let mut cells = cells(row, layout);
            if together {
                cells.push(group(row).unwrap_or_default());
            }
            let tone = match row.is_orphaned() {
                true => Tone::Bad,
                false => Tone::Plain,
            };
            table.row_in(tone, cells);
        }
        table.write(out, "")
    }
}

fn cells(row: &StatusRow, layout: Layout) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut cells = vec![
        row.name.clone(),
        steps(row),
        match row.exposure {
            // As in kubectl, columns are separated by blanks and hold none.
            Some(exposure) => exposure.to_string().replace(" %", "").replace(' ', ":"),
            None => String::new(),
        },
        row.phase.word().to_owned(),
        row.age().map(age).unwrap_or_default(),
        driver(row).to_owned(),
        seen(row).unwrap_or_default(),
    ];
    if layout.namespaced {
        cells.insert(0, row.namespace.clone());
    }
    if layout.wide {
        let routes = row.routes.iter();
        let routes: Vec<_> = routes
            .map(|route| format!("{}={}", route.route, route.now_in_words().replace(' ', "")))
            .collect();
        cells.extend([
            text(&row.stable),
            text(&row.canary),
            // The name alone: columns hold no blanks, and the job's address stands in `status`.
            row.holder
                .iter()
                .flat_map(|holder| holder.split(' ').next())
                .collect(),
            routes.join(","),
            row.last
                .as_ref()
                .map(|last| short(last.outcome).to_owned())
                .unwrap_or_default(),
        ]);
    }
    cells
}

/// Whether its driver is running; nothing where none is needed.
fn driver(row: &StatusRow) -> &'static str {
    match &row.driver {
        Some(driver) if driver.alive => "alive",
        Some(_) if row.is_orphaned() => "dead",
        Some(_) => "",
        None if row.holder.is_some() && row.lead.is_none() => "<unknown>",
        None => "",
    }
}

/// How long ago the driver was seen.
fn seen(row: &StatusRow) -> Option<String> {
    let renewed = row.driver.as_ref()?.renewed?;
    Some(age(row.at.duration_since(renewed)))
}

/// The current step among all: `2/4`.
fn steps(row: &StatusRow) -> String {
    match (row.step, row.step_count) {
        (Some(step), Some(count)) => format!("{step}/{count}"),
        _ => String::new(),
    }
}

/// The objects that an object is shifted together with, if there are any.
fn group(row: &StatusRow) -> Option<String> {
    let objects = row.lead.iter().chain(&row.companions);
    let objects: Vec<_> = objects.map(ToString::to_string).collect();
    (!objects.is_empty()).then(|| objects.join(","))
}

/// An outcome as one word.
fn short(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Promoted => "promoted",
        Outcome::AlreadyPromoted => "already-promoted",
        Outcome::StepPassed => "step-passed",
        Outcome::StepSet => "step-set",
        Outcome::RolledBack(_) => "rolled-back",
        Outcome::Held => "held",
        Outcome::Drifted => "drifted",
        Outcome::TakenOver => "taken-over",
        Outcome::RollbackFailed => "rollback-failed",
        Outcome::Interrupted => "interrupted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::LeaseStatus;
    use crate::istio::{VirtualService, select_versions};
    use crate::plan::{Options, Plan};
    use crate::report::status::RouteState;
    use crate::report::{DriverStatus, Format, Palette, print};
    use crate::rollout::{Cause, LAST, LastRollout, Phase, ROLLOUT, Rollout};
    use jiff::{SignedDuration, Timestamp};
    use serde_json::{Value, json};

    fn began() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn now() -> Timestamp {
        began() + SignedDuration::from_secs(372)
    }

    fn vs(weights: [i64; 2], annotations: Value) -> VirtualService {
        let route = |name: &str| {
            json!({"name": name, "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": weights[0]},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": weights[1]},
            ]})
        };
        VirtualService::new(json!({
            "metadata": {
                "name": "reviews", "namespace": "shop", "uid": "1", "annotations": annotations,
            },
            "spec": {"http": [route("primary"), route("\u{1b}[2Jrest")]},
        }))
        .unwrap()
    }

    fn rollout() -> Rollout {
        let vs = vs([100, 0], json!({}));
        let selection = select_versions(&vs, None, None, &[], &[]).unwrap();
        let plan = Plan::resolve(Options::default()).unwrap();
        Rollout::new(
            "0198c0de".into(),
            "ada@laptop/4711".into(),
            plan,
            (selection.stable, selection.canary, selection.splits),
            began(),
        )
        .at_step(1, Phase::Waiting, began() + SignedDuration::from_secs(60))
    }

    fn row(weights: [i64; 2], rollout: &Rollout) -> StatusRow {
        let state = rollout.to_annotation().unwrap();
        StatusRow::of(&vs(weights, json!({ROLLOUT: state})), now())
    }

    fn idle() -> StatusRow {
        let last = LastRollout::of(
            &rollout(),
            Outcome::RolledBack(Cause::Regression),
            "ada@laptop/4711",
            began(),
        );
        StatusRow::of(&vs([100, 0], json!({LAST: last.to_annotation()})), now())
    }

    fn damaged() -> StatusRow {
        StatusRow::of(&vs([100, 0], json!({ROLLOUT: "{\u{1b}"})), now())
    }

    fn shown(view: &impl View, layout: Layout) -> String {
        let mut out = Vec::new();
        view.show(&mut out, layout).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_has_one_row_an_object() {
        let mut elsewhere = damaged();
        elsewhere.namespace = "bank".into();
        let mut other = idle();
        other.name = "ratings".into();
        let list = StatusList::new(vec![row([90, 10], &rollout()), other, elsewhere]);
        insta::assert_snapshot!(shown(&list, Layout::default()), @"
        NAME      STEP     WEIGHT   PHASE     AGE      DRIVER      SEEN
        reviews   <none>   <none>   damaged   <none>   <none>      <none>
        ratings   <none>   <none>   idle      <none>   <none>      <none>
        reviews   2/4      10       waiting   5m12s    <unknown>   <none>
        ");
        let wide = Layout {
            wide: true,
            namespaced: true,
            ..Layout::default()
        };
        insta::assert_snapshot!(shown(&list, wide), @"
        NAMESPACE   NAME      STEP     WEIGHT   PHASE     AGE      DRIVER      SEEN     STABLE   CANARY   HOLDER            ROUTES                                      LAST
        bank        reviews   <none>   <none>   damaged   <none>   <none>      <none>   <none>   <none>   <none>            <none>                                      <none>
        shop        ratings   <none>   <none>   idle      <none>   <none>      <none>   <none>   <none>   <none>            <none>                                      rolled-back
        shop        reviews   2/4      10       waiting   5m12s    <unknown>   <none>   v1       v2       ada@laptop/4711   http[primary]=90/10,http[^[[2Jrest]=90/10   <none>
        ");
        let bare = Layout {
            without_headers: true,
            ..Layout::default()
        };
        assert_eq!(shown(&list, bare).lines().count(), 3);
        assert_eq!(list.errors().len(), 1);
        assert!(!list.errors()[0].contains('\u{1b}'), "{:?}", list.errors());
    }

    #[test]
    fn an_orphaned_rollout_stands_out() {
        let state = |phase| rollout().in_phase(phase, began());
        let row = |phase, ago| {
            let rollout = state(phase);
            let vs = vs([90, 10], json!({ROLLOUT: rollout.to_annotation().unwrap()}));
            let lease = LeaseStatus {
                holder: Some("ada@laptop/4711".into()),
                renewed: Some(now() - SignedDuration::from_secs(ago)),
                report: None,
            };
            let driver = DriverStatus::of(lease, None, now());
            StatusRow::of(&vs, now()).with_driver(&vs, driver)
        };
        let list = StatusList::new(vec![
            row(Phase::Progressing, 3),
            row(Phase::Progressing, 200),
            row(Phase::Waiting, 200),
        ]);
        insta::assert_snapshot!(shown(&list, Layout::default()), @"
        NAME      STEP   WEIGHT   PHASE         AGE     DRIVER   SEEN
        reviews   2/4    10       progressing   5m12s   alive    3s
        reviews   2/4    10       progressing   5m12s   dead     3m20s
        reviews   2/4    10       waiting       5m12s   <none>   3m20s
        ");
        let colored = Layout {
            palette: Palette::COLORED,
            ..Layout::default()
        };
        let lines = shown(&list, colored);
        let red: Vec<_> = lines
            .lines()
            .map(|line| line.contains("\x1b[31m"))
            .collect();
        assert_eq!(red, [false, false, true, false], "{lines}");
    }

    #[test]
    fn a_rollout_is_described_with_what_comes_next() {
        let text = shown(&row([90, 10], &rollout()), Layout::default());
        // The digest changes with every option that a plan learns.
        let text = text.replace(&rollout().plan.hash(), "HASH");
        insta::assert_snapshot!(text, @"
        Name:     shop/reviews
        Phase:    waiting (the step has passed, waiting for promote)
        Versions: v1 -> v2
        Steps:    ✓ 1 %   ▸ 10 % for 5m12s   · 50 %   · 100 %
        Holder:   ada@laptop/4711
        Run:      0198c0de, started 6m12s ago
        Plan:     HASH

        ROUTE             NOW     SET     ORIGINAL
        http[primary]     90/10   90/10   100/0
        http[^[[2Jrest]   90/10   90/10   100/0

        Next:     kubectl canary promote reviews -n shop
                  kubectl canary abort reviews -n shop
        ");
    }

    #[test]
    fn a_foreign_edit_is_seen_at_a_glance() {
        let text = shown(&row([80, 20], &rollout()), Layout::default());
        assert!(
            text.contains(
                "http[primary] has other weights than the rollout set; changed by another client\n"
            ),
            "{text}"
        );
        let mut row = row([90, 10], &rollout());
        assert!(
            row.routes
                .iter()
                .all(|route| route.state == RouteState::AsSet)
        );
        row.routes[0].state = RouteState::Missing;
        row.routes[0].now = None;
        let text = shown(&row, Layout::default());
        assert!(
            text.contains("http[primary] was deleted or sends elsewhere;"),
            "{text}"
        );
    }

    #[test]
    fn a_tripped_rollout_is_at_nothing() {
        let row = row([100, 0], &rollout().in_phase(Phase::Tripped, now()));
        assert_eq!(row.exposure.unwrap().to_string(), "0 %");
        assert_eq!(row.routes[0].state, RouteState::AsSet);
        assert!(shown(&row, Layout::default()).contains("✓ 1 %   ▸ 0 % for 5m12s   · 50 %"));
    }

    #[test]
    fn an_idle_object_tells_how_the_last_rollout_ended() {
        insta::assert_snapshot!(shown(&idle(), Layout::default()), @"
        Name:     shop/reviews
        Phase:    idle (no rollout)
        Last:     rolled back: the canary was worse than stable, 6m12s ago by ada@laptop/4711

        Next:     kubectl canary plan reviews -n shop
                  kubectl canary start reviews -n shop
        ");
    }

    #[test]
    fn a_damaged_state_is_a_phase_with_the_error_in_words() {
        let text = shown(&damaged(), Layout::default());
        assert!(text.contains("Phase:    damaged ("), "{text}");
        assert!(
            text.contains(
                "Error:    the rollout state on virtualservice shop/reviews is damaged: "
            )
        );
        assert!(
            text.contains("(try: kubectl canary abort reviews -n shop, which"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_record_of_a_newer_version_is_called_that() {
        let newer = json!({"version": 2, "outcome": "superb"}).to_string();
        let vs = vs([100, 0], json!({LAST: newer}));
        let lease = LeaseStatus {
            holder: None,
            renewed: None,
            report: Some(json!({"version": 3}).to_string()),
        };
        let driver = DriverStatus::of(lease, None, now());
        let row = StatusRow::of(&vs, now()).with_driver(&vs, driver);
        let text = shown(&row, Layout::default());
        for expected in [
            "the last rollout's record cannot be read: it has version 2, this kubectl canary reads up to 1",
            "the driver's report cannot be read: it has version 3, this kubectl canary reads up to 1",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["last"], Value::Null);
    }

    #[test]
    fn programs_read_the_same_in_json() {
        let row = row([90, 10], &rollout());
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["phase"], "waiting");
        assert_eq!((&json["step"], &json["stepCount"]), (&json!(2), &json!(4)));
        assert_eq!(json["exposure"], json!({"kind": "share", "percent": 10}));
        assert_eq!(json["ageSeconds"], 312);
        assert_eq!(json["routes"][0]["now"], json!([90, 10]));
        assert_eq!(json["routes"][0]["state"], "as-set");
        assert_eq!(json["next"][0], "kubectl canary promote reviews -n shop");
        let mut out = Vec::new();
        let list = StatusList::new(vec![row]);
        print(&mut out, Some(Format::Yaml), Layout::default(), &list).unwrap();
        let yaml = String::from_utf8(out).unwrap();
        let back: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back["items"][0]["holder"], "ada@laptop/4711");
    }
}
