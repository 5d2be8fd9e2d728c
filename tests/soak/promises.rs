//! What has to hold of the objects, whatever happens. It is told of every version of them and of what each
//! process ended with; it knows the plan, and none of the engine's code that decides.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kubectl_canary::CommandError;
use kubectl_canary::cli::Exit;
use kubectl_canary::driver::Finish;
use kubectl_canary::rollout::{Cause, Outcome};
use serde_json::Value;

use crate::history::{Author, History, Version};
use crate::process::{CommandResult, Order};
use crate::routes::{
    RouteWeights, Shifted, record, record_text, shifted, tester_rules, untouchable, weights,
};
use crate::stage::{Life, described};

/// The rules that a scenario's plan makes.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The objects that move together, the lead first.
    pub objects: Vec<String>,
    /// The canary's share at each step, in hundredths of a percent.
    pub steps: Vec<i64>,
    /// The step at which requests are mirrored.
    pub mirrors_at: Option<usize>,
    /// Whether users stay on the canary while it has a share.
    pub is_sticky: bool,
    /// Whether a regression takes from the canary what it had before.
    pub takes_all: bool,
    /// Whether no other client ever edits an object.
    pub is_left_alone: bool,
    /// The shortest time, in milliseconds, after which a driver may take the next step by itself.
    pub least_millis: i128,
    /// Whether no driver may ever go on by itself from a step that sends the canary traffic.
    pub canary_is_broken: bool,
    /// Whether no request to the canary ever fails.
    pub canary_never_fails: bool,
    /// Whether other clients' weights are never written over by a driver.
    pub keeps_foreign: bool,
}

/// Who writes.
pub struct Writer<'a> {
    pub process: usize,
    pub actor: &'a str,
    pub order: &'a Order,
    /// The newest version of each object that it knows of.
    pub knows: &'a BTreeMap<String, u64>,
    /// By how much its clock is ahead of the one that is most behind.
    pub ahead: SignedDuration,
}

impl Writer<'_> {
    fn told(&self) -> String {
        format!("p{} ({})", self.process, self.order.name())
    }
}

/// One run, by what stood on the objects before it.
#[derive(Debug, Default)]
struct Run {
    /// Object and route to the weights before.
    original: BTreeMap<(String, String), RouteWeights>,
}

#[derive(Debug)]
pub struct Promises {
    rules: Rules,
    runs: BTreeMap<String, Run>,
    /// Processes that said that they had touched nothing.
    untouched: BTreeSet<usize>,
    /// Whether a promotion was undone.
    has_undone: bool,
    violations: Vec<String>,
}

/// A rollout as it stands on an object.
struct Stands {
    run: String,
    holder: String,
    step: usize,
    phase: String,
}

impl Stands {
    fn on(object: &Value) -> Option<Self> {
        let state = record(object, "rollout")?;
        let text = |field: &str| Some(state[field].as_str()?.to_owned());
        Some(Self {
            run: text("run")?,
            holder: text("holder")?,
            step: usize::try_from(state["step"].as_u64()?)
                .ok()?
                .checked_sub(1)?,
            phase: text("phase")?,
        })
    }

    fn is_held_by(&self, actor: &str) -> bool {
        self.holder.split('/').next() == Some(actor)
    }
}

fn ended_run(object: &Value) -> Option<String> {
    let last = record(object, "last")?;
    Some(last["run"].as_str()?.to_owned())
}

impl Promises {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            runs: BTreeMap::new(),
            untouched: BTreeSet::new(),
            has_undone: false,
            violations: Vec::new(),
        }
    }

    pub fn objects(&self) -> &[String] {
        &self.rules.objects
    }

    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub fn violate(&mut self, what: String) {
        self.violations.push(what);
    }

    /// The lead and its companions, without those that were made anew under the same name: these are no
    /// part of a run that knew the old ones, whatever stands on them.
    fn members(&self, history: &History) -> Vec<String> {
        let uid = |version: Option<&Version>| {
            let object = version?.object.as_ref()?;
            Some(object["metadata"]["uid"].clone())
        };
        let is_same = |name: &&String| {
            let versions = history.of(name);
            **name == self.rules.objects[0] || uid(versions.first()) == uid(versions.last())
        };
        self.rules.objects.iter().filter(is_same).cloned().collect()
    }

    fn original(&self, run: &str, object: &str, route: &Shifted) -> Option<&RouteWeights> {
        let key = (object.to_owned(), route.key.clone());
        self.runs.get(run)?.original.get(&key)
    }

    // After every write.

    /// A process has made `before` into `after`, knowing the version `known`.
    pub fn written(
        &mut self,
        writer: &Writer<'_>,
        name: &str,
        before: &Version,
        after: &Value,
        known: u64,
        history: &History,
    ) {
        let who = writer.told();
        let Some(was) = &before.object else {
            self.violate(format!("{who} wrote to {name}, which was deleted"));
            return;
        };
        if self.untouched.contains(&writer.process) && weights(was) != weights(after) {
            self.violate(format!(
                "{who} said that it had touched nothing, and {name} became {}",
                described(after)
            ));
        }
        if untouchable(was) != untouchable(after) {
            self.violate(format!("{who} changed more than weights of {name}"));
        }
        let (stood, stands) = (Stands::on(was), Stands::on(after));
        let run = match (&stood, &stands) {
            (_, Some(stands)) => Some(stands.run.clone()),
            (Some(stood), None) => Some(stood.run.clone()),
            (None, None) => ended_run(after),
        };
        let Some(run) = run else {
            self.violate(format!("{who} wrote to {name} without a record"));
            return;
        };
        if !self.runs.contains_key(&run) || stood.is_none() {
            let begun = self.runs.entry(run.clone()).or_default();
            let mut originals = vec![(name, was)];
            // The lead says where its companions were, also of one that others change before it is reached.
            if name == self.rules.objects[0] {
                let companions = self.rules.objects[1..].iter();
                originals.extend(companions.filter_map(|companion| {
                    let read = *writer.knows.get(companion)?;
                    let version = history.at_revision(companion, read)?;
                    Some((companion.as_str(), version.object.as_ref()?))
                }));
            }
            for (name, object) in originals {
                for route in shifted(object) {
                    let key = (name.to_owned(), route.key);
                    begun.original.entry(key).or_insert(route.weights);
                }
            }
        }
        self.check_routes(&who, name, &run, was, after, stands.as_ref());
        self.check_extras(&who, name, &run, was, after, stands.as_ref());
        if matches!(writer.order, Order::Undo) {
            self.check_undo(&who, name, &run, was, after, stood.as_ref());
        }
        self.check_holder(
            writer,
            name,
            was,
            stood.as_ref(),
            stands.as_ref(),
            known,
            history,
        );
        if name == self.rules.objects[0] {
            self.check_step(
                writer,
                name,
                stood.as_ref(),
                stands.as_ref(),
                after,
                history,
            );
        }
    }

    /// Totals, others' shares, and the canary's share, route by route.
    fn check_routes(
        &mut self,
        who: &str,
        name: &str,
        run: &str,
        was: &Value,
        after: &Value,
        stands: Option<&Stands>,
    ) {
        let mut wrong = Vec::new();
        for (old, new) in shifted(was).iter().zip(&shifted(after)) {
            let original = self.original(run, name, new).unwrap_or(&old.weights);
            // A canary that is added comes last.
            if original.len() != new.weights.len()
                && (original.len() != new.canary || new.weights.len() != new.canary + 1)
            {
                continue;
            }
            let before = new.with(original.clone());
            let told = || {
                format!(
                    "{} of {name}: {:?} -> {:?}, originally {original:?}",
                    new.key, old.weights, new.weights
                )
            };
            // On a finer scale all of a route's weights are as many times as large.
            let scale = match (stands, before.total()) {
                (Some(_), total) if total > 0 && new.total() % total == 0 => new.total() / total,
                _ => 1,
            };
            if new.total() != old.total() && new.total() != before.total() * scale {
                wrong.push(format!("{who} changed the total of {}", told()));
            }
            for (place, weight) in new.weights.iter().enumerate() {
                if place == new.stable || place == new.canary {
                    continue;
                }
                let scaled = original[place].map(|weight| weight * scale);
                let kept = [old.weights[place], original[place], scaled].contains(weight);
                if !kept {
                    wrong.push(format!("{who} changed another's share of {}", told()));
                }
            }
            if new.weights == *original || new.weights == old.weights {
                continue;
            }
            let shared = before.weight(new.stable) + before.weight(new.canary);
            let most = match stands {
                Some(stands) if stands.phase == "tripped" => 0,
                Some(stands) => {
                    let share = self.rules.steps.get(stands.step).copied().unwrap_or(0);
                    (shared * scale * share / 10_000).max(before.weight(new.canary) * scale)
                }
                None => shared,
            };
            if new.weight(new.canary) > most {
                wrong.push(format!(
                    "{who} gave the canary more than {most} of {}",
                    told()
                ));
            }
        }
        self.violations.extend(wrong);
    }

    /// Copies, cookies and the rules of testers and sticky users come and go with the steps that they are for.
    fn check_extras(
        &mut self,
        who: &str,
        name: &str,
        run: &str,
        was: &Value,
        after: &Value,
        stands: Option<&Stands>,
    ) {
        let gets_something = stands.filter(|stands| stands.phase != "tripped");
        let mirrors =
            gets_something.is_some_and(|stands| Some(stands.step) == self.rules.mirrors_at);
        let keys = |object: &Value| -> BTreeSet<String> {
            // A route that another client has renamed since is none of the run's.
            let mirrored = shifted(object)
                .into_iter()
                .filter(|route| route.mirrors && self.original(run, name, route).is_some());
            mirrored.map(|route| route.key).collect()
        };
        if !mirrors && !keys(after).is_empty() {
            self.violate(format!(
                "{who} mirrors requests of {name}: {}",
                described(after)
            ));
        }
        let share = gets_something.and_then(|stands| self.rules.steps.get(stands.step).copied());
        let is_shared = share.is_some_and(|share| share > 0 && share < 10_000);
        let is_due = is_shared && self.rules.is_sticky;
        let is_wrong = |route: &Shifted| match self.original(run, name, route) {
            // The state may stay while the weights, and all that was added, are as before.
            Some(original) => {
                let is_back = [original, &route.with(original.clone()).without_canary()]
                    .contains(&&route.weights);
                route.sticks != is_due && (route.sticks || !is_back)
            }
            None => false,
        };
        if shifted(after).iter().any(is_wrong) {
            self.violate(format!(
                "{who} leaves the cookie of {name} as it should not: {}",
                described(after)
            ));
        }
        let before: BTreeSet<_> = tester_rules(was).into_iter().collect();
        for (run, is_exact) in tester_rules(after) {
            let is_of_run = gets_something.is_some_and(|stands| stands.run == run);
            let is_left = !is_of_run && stands.is_none_or(|stands| stands.run != run);
            // Another client may have left the rule of a run that ended.
            if (is_left && before.contains(&(run.clone(), is_exact)) && !self.rules.is_left_alone)
                || (is_of_run && is_exact)
            {
                continue;
            }
            self.violate(format!(
                "{who} leaves testers of {run} a rule of {name}: {}",
                described(after)
            ));
        }
    }

    /// An undo writes over what the promotion left, and over nothing else.
    fn check_undo(
        &mut self,
        who: &str,
        name: &str,
        run: &str,
        was: &Value,
        after: &Value,
        stood: Option<&Stands>,
    ) {
        self.has_undone = true;
        let mut wrong = Vec::new();
        if stood.is_some() {
            wrong.push(format!("{who} wrote to {name}, where a rollout was"));
        }
        let found = shifted(was).into_iter().all(|route| {
            self.is_original(run, name, &route) || self.is_promoted(run, name, &route)
        });
        if !found {
            wrong.push(format!(
                "{who} wrote over other weights of {name} than those of the promotion: {}",
                described(was)
            ));
        }
        let is_back = shifted(after)
            .iter()
            .all(|route| self.is_original(run, name, route));
        if !is_back {
            wrong.push(format!("{who} left {name} at {}", described(after)));
        }
        self.violations.extend(wrong);
    }

    /// Whoever writes is the one who holds it, or may take it, and knows what it writes on.
    #[expect(clippy::too_many_arguments, reason = "who, what, and on what it rests")]
    fn check_holder(
        &mut self,
        writer: &Writer<'_>,
        name: &str,
        was: &Value,
        stood: Option<&Stands>,
        stands: Option<&Stands>,
        known: u64,
        history: &History,
    ) {
        let who = writer.told();
        let mine = Author::Process(writer.process);
        let held = |version: &Version| {
            let object = version.object.as_ref();
            let stands = object.and_then(Stands::on);
            version.author == mine && stands.is_some_and(|stands| stands.is_held_by(writer.actor))
        };
        let has_held = history
            .of(name)
            .split_last()
            .is_some_and(|(_, before)| before.iter().any(held));
        // Its own promotion may arrive after it has decided to roll back.
        let has_promoted = || {
            let before = history.of(name).iter().rev().nth(1);
            before.is_some_and(|before| {
                before.author == mine && before.object.as_ref().is_some_and(is_promotion)
            })
        };
        if writer.order.drives() && has_held {
            match stood {
                Some(stood) if !stood.is_held_by(writer.actor) => self.violate(format!(
                    "{who} wrote to {name} though {} holds it",
                    stood.holder.split('/').next().unwrap_or_default()
                )),
                // A companion that was promoted goes back with its lead, as long as that is under way.
                None if self.is_over(name, history) && !has_promoted() => {
                    self.violate(format!("{who} wrote to {name} after the rollout was over"));
                }
                Some(_) | None => {}
            }
            if self.rules.keeps_foreign && is_foreign(name, was, history) {
                self.violate(format!(
                    "{who} wrote over another client's weights of {name}: {}",
                    described(was)
                ));
            }
        }
        if matches!(writer.order, Order::Start(_)) && !has_held {
            if let Some(stood) = stood
                && !stood.is_held_by(writer.actor)
            {
                self.violate(format!(
                    "{who} started on {name} though {} holds it",
                    stood.holder
                ));
            }
            // What it believes is what it was shown: the same past, to the letter.
            let shown = history
                .at_revision(name, known)
                .and_then(|version| version.object.as_ref());
            if let Some(shown) = shown
                && stands.is_some()
                && ["rollout", "last"]
                    .iter()
                    .any(|kind| record_text(shown, kind) != record_text(was, kind))
            {
                self.violate(format!(
                    "{who} started on {name} knowing r{known} ({}), when it stood at {}",
                    described(shown),
                    described(was)
                ));
            }
        }
    }

    /// Whether the rollout that an object without one belongs to is over.
    fn is_over(&self, name: &str, history: &History) -> bool {
        let lead = &self.rules.objects[0];
        let stands = history.last(lead).object.as_ref().and_then(Stands::on);
        name == lead || stands.is_none()
    }

    /// Who may take which step, and when.
    fn check_step(
        &mut self,
        writer: &Writer<'_>,
        name: &str,
        stood: Option<&Stands>,
        stands: Option<&Stands>,
        after: &Value,
        history: &History,
    ) {
        let who = writer.told();
        let last_step = self.rules.steps.len() - 1;
        let promoted = is_promotion(after);
        let (from, to) = match (stood, stands) {
            (Some(stood), Some(stands)) => (stood.step, stands.step),
            (Some(stood), None) if promoted => (stood.step, last_step.max(stood.step)),
            (None, Some(stands)) if !matches!(writer.order, Order::Start(_)) => {
                self.violate(format!(
                    "{who} put step {} on {name}, where no rollout was",
                    stands.step
                ));
                return;
            }
            _ => return,
        };
        if to <= from {
            return;
        }
        let is_full = matches!(writer.order, Order::Promote { full: true, .. });
        if to > from + 1 && !is_full {
            self.violate(format!(
                "{who} went from step {from} to step {to} of {name}"
            ));
        }
        if matches!(writer.order, Order::Promote { .. }) && !self.has_driven(writer, name, history)
        {
            return;
        }
        // A driver goes on by itself: for how long were the weights of the step in force?
        let versions = history.of(name);
        let weights = versions[versions.len() - 2].weights();
        let of_step = versions.windows(2).rev().take_while(|pair| {
            // Between its deletion and its return it stood nowhere.
            let Some(object) = &pair[0].object else {
                return true;
            };
            Stands::on(object).is_some_and(|stands| stands.step == from)
        });
        let in_force = of_step.filter(|pair| pair[0].weights() == weights);
        let lasted: i128 = in_force
            .map(|pair| pair[1].at.duration_since(pair[0].at).as_millis())
            .sum();
        // Between two machines it is measured by their clocks.
        if lasted + writer.ahead.as_millis() < self.rules.least_millis {
            self.violate(format!(
                "{who} left step {from} of {name} after {lasted} ms"
            ));
        }
        if self.rules.canary_is_broken && self.rules.steps[from] >= 1000 {
            self.violate(format!(
                "{who} went on from step {from} of {name} with a broken canary"
            ));
        }
    }

    /// Whether a process has written before, so that this is not the step that it was run for.
    fn has_driven(&self, writer: &Writer<'_>, name: &str, history: &History) -> bool {
        let mine = Author::Process(writer.process);
        let versions = history.of(name);
        let (_, earlier) = versions.split_last().expect("it was just written");
        earlier.iter().any(|version| version.author == mine)
    }

    // When a process ends.

    /// What a process says has to be true of the objects.
    pub fn ended(
        &mut self,
        process: usize,
        life: &Life,
        result: &CommandResult,
        history: &History,
        calm: bool,
    ) {
        let who = format!("p{process} ({})", life.order.name());
        let seen = Seen {
            process,
            life,
            history,
        };
        match result {
            Ok(None) => self.was_restored(&who, &seen),
            Ok(Some(finish)) => self.finished(&who, &seen, finish, calm),
            Err(error) => self.failed(&who, &seen, error, calm),
        }
    }

    fn finished(&mut self, who: &str, seen: &Seen<'_>, finish: &Finish, calm: bool) {
        let lead = self.rules.objects[0].clone();
        let lead = lead.as_str();
        let run = &finish.rollout.run;
        match finish.outcome {
            Outcome::RolledBack(cause) => {
                self.is_restored(who, seen, Some(run));
                if cause == Cause::Regression && self.rules.canary_never_fails {
                    self.violate(format!(
                        "{who} says that the canary is worse, which never failed"
                    ));
                }
            }
            Outcome::Promoted => {
                for name in self.rules.objects.clone() {
                    let is = |object: &Value| {
                        let stands = Stands::on(object);
                        let over = stands.is_none_or(|stands| stands.run != *run);
                        over && shifted(object)
                            .iter()
                            .all(|route| self.is_promoted(run, &name, route))
                    };
                    if !seen.held_at_end(&name, is) {
                        self.violate(format!(
                            "{who} says promoted, and {name} is {}",
                            seen.last(&name)
                        ));
                    }
                }
            }
            Outcome::TakenOver => {
                let stands = seen.object(lead).and_then(Stands::on);
                if stands.is_some_and(|stands| stands.is_held_by(&seen.life.actor)) {
                    self.violate(format!(
                        "{who} says taken over, and {lead} is {}",
                        seen.last(lead)
                    ));
                }
            }
            // Found so, not made so: nothing goes to stable where it could go to the canary.
            Outcome::AlreadyPromoted => {
                let is = |object: &Value| {
                    shifted(object)
                        .iter()
                        .all(|route| route.weight(route.stable) == 0)
                };
                if !seen.held_at_end(lead, is) {
                    self.violate(format!(
                        "{who} says already promoted, and {lead} is {}",
                        seen.last(lead)
                    ));
                }
            }
            Outcome::StepPassed | Outcome::StepSet | Outcome::Held => {
                let is = |object: &Value| {
                    let stands = Stands::on(object);
                    stands.is_some_and(|stands| stands.run == *run)
                };
                if !seen.held_at_end(lead, is) {
                    self.violate(format!(
                        "{who} says {}, and {lead} is {}",
                        finish.outcome,
                        seen.last(lead)
                    ));
                }
            }
            Outcome::Drifted => {
                let others = |name: &String| {
                    let mut since = seen.since(name).iter();
                    since.any(|version| version.author != Author::Process(seen.process))
                };
                if !self.rules.objects.iter().any(others) {
                    self.violate(format!(
                        "{who} says that others changed the routes, and nobody did"
                    ));
                }
            }
            Outcome::RollbackFailed => {
                let signalled = finish.signal.is_some();
                self.is_not_restored(who, seen, run, calm && !signalled);
            }
            Outcome::Interrupted => self.is_untouched(who, seen),
        }
    }

    fn failed(&mut self, who: &str, seen: &Seen<'_>, error: &CommandError, calm: bool) {
        match Exit::from(error) {
            // It says that it does not know, and that is never wrong.
            Exit::RollbackFailed if !matches!(error, CommandError::RollbackFailed { .. }) => {}
            Exit::RollbackFailed => {
                let run = seen.object(&self.rules.objects[0]).and_then(ended_run);
                if let Some(run) = run {
                    self.is_not_restored(who, seen, &run, calm);
                }
            }
            Exit::NoVerdict => self.is_restored(who, seen, None),
            Exit::Error if matches!(error, CommandError::NotStarted { .. }) => {
                self.is_restored(who, seen, None);
            }
            _ => self.is_untouched(who, seen),
        }
    }

    fn is_untouched(&mut self, who: &str, seen: &Seen<'_>) {
        self.untouched.insert(seen.process);
        for name in self.rules.objects.clone() {
            let mine = Author::Process(seen.process);
            let touched =
                |pair: &[Version]| pair[1].author == mine && pair[0].weights() != pair[1].weights();
            if seen.history.of(&name).windows(2).any(touched) {
                self.violate(format!(
                    "{who} says that traffic is untouched, and has written to {name}"
                ));
            }
        }
    }

    fn is_restored(&mut self, who: &str, seen: &Seen<'_>, run: Option<&str>) {
        for name in self.members(seen.history) {
            // Where none of us has ever written nothing is to be restored.
            let by_us = |version: &Version| matches!(version.author, Author::Process(_));
            if !seen.history.of(&name).iter().any(by_us) {
                continue;
            }
            let is = |object: &Value| {
                let run = run.map(str::to_owned).or_else(|| ended_run(object));
                let Some(run) = run else { return false };
                let over = Stands::on(object).is_none_or(|stands| stands.run != run);
                over && self.is_rolled_back(&run, &name, object)
            };
            // A companion that had its end before is left as others have made it since.
            let ours = seen
                .history
                .of(&name)
                .iter()
                .rev()
                .find(|version| by_us(version));
            let is_left = name != self.rules.objects[0]
                && ours
                    .and_then(|version| version.object.as_ref())
                    .is_some_and(is);
            // Where the lead is gone each of the others goes back alone.
            let is_alone =
                seen.object(&self.rules.objects[0]).is_none() && !seen.has_written(&name);
            if !is_left && !is_alone && !seen.held_at_end(&name, is) {
                self.violate(format!(
                    "{who} says rolled back, and {name} is {}",
                    seen.last(&name)
                ));
            }
        }
    }

    /// Nothing was left to do: at some time in the process's life, whoever of us had written last had restored it.
    fn was_restored(&mut self, who: &str, seen: &Seen<'_>) {
        for name in self.members(seen.history) {
            let all = seen.history.of(&name);
            let found = all.len() - seen.since(&name).len();
            let by_us = |version: &&Version| matches!(version.author, Author::Process(_));
            let was = |now: usize| {
                let ours = all[..=now].iter().rev().find(by_us);
                ours.and_then(|version| version.object.as_ref())
            };
            let is_restored = |object: Option<&Value>| {
                object.is_none_or(|object| {
                    let run = ended_run(object).unwrap_or_default();
                    self.is_rolled_back(&run, &name, object) && Stands::on(object).is_none()
                })
            };
            if !(found..all.len()).any(|now| is_restored(was(now))) {
                let last = was(all.len() - 1).map(described).unwrap_or_default();
                self.violate(format!(
                    "{who} says that nothing is left to do, and {name} was {last}"
                ));
            }
        }
    }

    fn is_not_restored(&mut self, who: &str, seen: &Seen<'_>, run: &str, calm: bool) {
        let is_restored = |name: &String| {
            seen.object(name).is_some_and(|object| {
                Stands::on(object).is_none() && self.is_rolled_back(run, name, object)
            })
        };
        if calm && self.rules.objects.iter().all(is_restored) {
            self.violate(format!(
                "{who} says that the rollback failed, and everything is restored"
            ));
        }
    }

    fn is_original(&self, run: &str, name: &str, route: &Shifted) -> bool {
        self.original(run, name, route)
            .is_none_or(|original| *original == route.weights)
    }

    /// Whether an object is where a rollback for the cause that it tells of brings it.
    fn is_rolled_back(&self, run: &str, name: &str, object: &Value) -> bool {
        let last = record(object, "last").unwrap_or_default();
        let regressed = last["outcome"]["cause"] == "regression";
        let takes_all = self.rules.takes_all && regressed;
        shifted(object).iter().all(|route| match takes_all {
            true => self.is_without_canary(run, name, route),
            false => self.is_original(run, name, route),
        })
    }

    fn is_without_canary(&self, run: &str, name: &str, route: &Shifted) -> bool {
        self.original(run, name, route)
            .is_none_or(|original| route.with(original.clone()).without_canary() == route.weights)
    }

    fn is_promoted(&self, run: &str, name: &str, route: &Shifted) -> bool {
        let Some(original) = self.original(run, name, route) else {
            return true;
        };
        let before = route.with(original.clone());
        let shared = before.weight(route.stable) + before.weight(route.canary);
        route.weight(route.stable) == 0 && route.weight(route.canary) == shared
    }

    // When everything is quiet.

    /// Every object is free, and at the original weights or at the promoted ones.
    pub fn at_rest(&mut self, history: &History) {
        let mut ends: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for name in self.members(history) {
            let versions = history.of(&name);
            let Some(object) = &history.last(&name).object else {
                continue;
            };
            if record_text(object, "rollout").is_some() {
                self.violate(format!(
                    "at rest, a rollout is left on {name}: {}",
                    described(object)
                ));
                continue;
            }
            let by_us = |version: &&Version| matches!(version.author, Author::Process(_));
            let Some(ours) = versions.iter().rev().find(by_us) else {
                continue;
            };
            let object = ours.object.as_ref().expect("a write leaves an object");
            if record_text(object, "rollout").is_some() {
                continue;
            }
            let Some(run) = ended_run(object) else {
                self.violate(format!(
                    "at rest, no record of an end is on {name}: {}",
                    described(object)
                ));
                continue;
            };
            let routes = shifted(object);
            let all = |is: &dyn Fn(&Shifted) -> bool| routes.iter().all(is);
            let mut may_be = BTreeSet::new();
            if self.is_rolled_back(&run, &name, object) {
                may_be.extend(
                    all(&|route| self.is_original(&run, &name, route)).then_some("original"),
                );
                let zero = self.rules.takes_all
                    && all(&|route| self.is_without_canary(&run, &name, route));
                may_be.extend(zero.then_some("without canary"));
            }
            may_be.extend(all(&|route| self.is_promoted(&run, &name, route)).then_some("promoted"));
            if may_be.is_empty() {
                self.violate(format!(
                    "at rest, {name} is neither where it was nor promoted: {}",
                    described(object)
                ));
                continue;
            }
            // A companion that others have changed since its end does not follow a later one.
            let is_others = versions.last().is_some_and(|last| !by_us(&last));
            if is_others && name != self.rules.objects[0] {
                continue;
            }
            match ends.entry(run) {
                Entry::Vacant(first) => {
                    first.insert(may_be);
                }
                Entry::Occupied(mut others) => others.get_mut().retain(|end| may_be.contains(end)),
            }
        }
        let mixed: Vec<_> = ends
            .iter()
            .filter(|(_, may_be)| may_be.is_empty())
            .collect();
        // Where others have edited what a promotion left, undoing it stops halfway.
        if !mixed.is_empty() && (self.rules.is_left_alone || !self.has_undone) {
            self.violate(format!(
                "at rest, the objects of a run have come to different ends: {mixed:?}"
            ));
        }
    }
}

/// Whether the weights of an object are not those that one of us has written last.
fn is_foreign(name: &str, was: &Value, history: &History) -> bool {
    let by_us = |version: &&Version| matches!(version.author, Author::Process(_));
    let mut earlier = history.of(name).iter().rev().skip(1);
    let ours = earlier
        .find(by_us)
        .and_then(|version| version.object.as_ref());
    ours.is_some_and(|ours| weights(ours) != weights(was))
}

/// The history as it is when a process ends.
struct Seen<'a> {
    process: usize,
    life: &'a Life,
    history: &'a History,
}

impl Seen<'_> {
    fn object(&self, name: &str) -> Option<&Value> {
        self.history.last(name).object.as_ref()
    }

    fn has_written(&self, name: &str) -> bool {
        let mine = Author::Process(self.process);
        self.history
            .of(name)
            .iter()
            .any(|version| version.author == mine)
    }

    fn last(&self, name: &str) -> String {
        self.object(name).map_or("deleted".to_owned(), described)
    }

    /// The versions of an object in the process's life, and the one that it found.
    fn since(&self, name: &str) -> &[Version] {
        let first = self.life.versions_at_start.get(name).copied().unwrap_or(0);
        &self.history.of(name)[first.saturating_sub(1)..]
    }

    /// Whether something held of an object at some time in the process's life, and the process has not written
    /// to it since.
    fn held_at_end(&self, name: &str, is: impl Fn(&Value) -> bool) -> bool {
        for version in self.since(name).iter().rev() {
            if version.object.as_ref().is_none_or(&is) {
                return true;
            }
            if version.author == Author::Process(self.process) {
                return false;
            }
        }
        false
    }
}

/// Whether the object says that its last rollout was promoted.
fn is_promotion(object: &Value) -> bool {
    record(object, "last").is_some_and(|last| last["outcome"]["kind"] == "promoted")
}
