//! The status of one rollout in full.

use std::io::{self, Write};

use super::forecast::detects;
use super::ladder::StepPosition;
use super::phrase::Versions;
use super::reason_text;
use super::status::{RouteState, Standing, StatusRow};
use super::traffic::RouteAction;
use super::{Layout, Palette, Table, Tone, View, age, escape};
use crate::istio::Host;
use crate::plan::PlannedStep;

impl View for StatusRow {
    fn names(&self) -> Vec<&str> {
        vec![&self.name]
    }

    /// Describes one rollout.
    fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()> {
        let palette = layout.palette;
        let mut field = |title: &str, text: &str| writeln!(out, "{title:<10}{text}");
        field(
            "Name:",
            &palette.paint(Tone::Strong, escape(&self.full_name())),
        )?;
        field("Phase:", &phase(self, palette))?;
        if let (Some(stable), Some(canary)) = (&self.stable, &self.canary) {
            field(
                "Versions:",
                &format!("{} -> {}", escape(stable), escape(canary)),
            )?;
        }
        if let Some(lead) = &self.lead {
            field(
                "With:",
                &format!("shifted together with {}", escape(&lead.to_string())),
            )?;
        }
        if !self.companions.is_empty() {
            let companions: Vec<_> = self.companions.iter().map(ToString::to_string).collect();
            field(
                "Also:",
                &format!("{} (shifted together)", escape(&companions.join(", "))),
            )?;
        }
        if let Some(ladder) = ladder(self, palette) {
            field("Steps:", &ladder)?;
        }
        if let Some(power) = &self.power {
            field("Detects:", &detects(power, power.example))?;
        }
        if let Some(from) = self.dispersion_from {
            let text = format!(
                "dispersion from the rollout of {}",
                from.strftime("%Y-%m-%d")
            );
            field("Baseline:", &text)?;
        }
        if let Some(holder) = &self.holder {
            field("Holder:", &escape(holder))?;
        }
        if let Some(driver) = &self.driver {
            let (tone, words) = driver.words(self.needs_driver(), self.at);
            field("Driver:", &palette.paint(tone, words))?;
            let versions = Versions {
                stable: self.stable.clone().unwrap_or_default(),
                canary: self.canary.clone().unwrap_or_default(),
            };
            if let Some(seen) = driver.seen(&versions, self.at) {
                field("Evidence:", &escape(&seen))?;
            }
            if let Some(error) = &driver.report_error {
                field("Evidence:", &palette.paint(Tone::Caution, escape(error)))?;
            }
            for warning in driver.warnings() {
                field("Metrics:", &palette.paint(Tone::Caution, escape(&warning)))?;
            }
        }
        if let Some(by) = &self.changed_by {
            field("Changed:", &format!("by {}", escape(by)))?;
        }
        if let (Some(run), Some(began)) = (&self.run, self.began) {
            let ago = age(self.at.duration_since(began));
            field("Run:", &format!("{}, started {ago} ago", escape(run)))?;
        }
        if let Some(plan) = &self.plan_hash {
            field("Plan:", &escape(plan))?;
        }
        if let (Some(sticky), Some(canary)) = (&self.sticky, &self.canary) {
            let text = format!(
                "users of {} stay there by cookie {} for {}, beside its weight",
                escape(canary),
                sticky.cookie,
                sticky.ttl
            );
            field("Sticky:", &text)?;
        }
        if let Some(last) = &self.last {
            let ago = age(self.at.duration_since(last.at));
            let text = format!(
                "{}, {ago} ago by {}",
                last.outcome,
                escape(&last.changed_by)
            );
            field("Last:", &text)?;
        }
        if let (Some(run), Some(last)) = (&self.last_run, &self.last) {
            let versions = Versions {
                stable: last.stable.clone(),
                canary: last.canary.clone(),
            };
            if let Some(reason) = reason_text::joined(&run.reasons, &versions) {
                field("Reason:", &escape(&reason))?;
            }
            if let Some(counts) = run.total_counts {
                field("Requests:", &escape(&versions.requests(counts)))?;
            }
        }
        if let (Standing::Idle, Some(last), Some(kept)) = (self.phase, &self.last, self.exposure) {
            let text = format!(
                "{} still gets {kept}, as before the rollout",
                escape(&last.canary)
            );
            field("Canary:", &palette.paint(Tone::Bad, text))?;
        }
        if let Some(error) = &self.last_error {
            field("Last:", &palette.paint(Tone::Caution, escape(error)))?;
        }
        if let Some(error) = &self.error {
            field("Error:", &palette.paint(Tone::Bad, escape(error)))?;
        }
        if !self.routes.is_empty() {
            writeln!(out)?;
            self.show_routes(out, palette)?;
        }
        self.show_traffic(out, palette)?;
        if !self.next.is_empty() {
            writeln!(out)?;
            for (index, command) in self.next.iter().enumerate() {
                let title = if index == 0 { "Next:" } else { "" };
                writeln!(out, "{title:<10}{}", escape(command))?;
            }
        }
        Ok(())
    }
}

impl StatusRow {
    /// Where the requests go, what runs there, and what could not be read of that.
    fn show_traffic(&self, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
        if self.traffic.is_empty() {
            return Ok(());
        }
        let gateways: Vec<_> = self.gateways.iter().map(String::as_str).collect();
        let hosts: Vec<_> = self.hosts.iter().map(|host| self.short(host)).collect();
        let (hosts, gateways) = (hosts.join(", "), gateways.join(", "));
        writeln!(out)?;
        writeln!(
            out,
            "Hosts:    {} (via {})",
            escape(&hosts),
            escape(&gateways)
        )?;
        let mut table = Table::new(["ROUTE", "MATCH", "HOST", "SUBSET", "WEIGHT"]);
        for row in &self.traffic {
            let host = row.host.as_deref().map(|host| self.short(host));
            let to = match row.action {
                RouteAction::Route => host.unwrap_or_default(),
                RouteAction::Delegate => format!("delegate {}", row.host.as_deref().unwrap_or("")),
                RouteAction::Redirect => "redirect".into(),
                RouteAction::DirectResponse => "direct response".into(),
                RouteAction::None => String::new(),
            };
            table.row([
                row.route.clone(),
                if row.conditional { "some" } else { "all" }.into(),
                to,
                row.subset.clone().unwrap_or_default(),
                row.percent
                    .map(|percent| format!("{} %", (percent * 100.0).round() / 100.0))
                    .unwrap_or_default(),
            ]);
        }
        table.write(out, "")?;
        if self.versions.iter().any(|version| version.pods.is_some()) {
            writeln!(out)?;
            let mut table = Table::new(["HOST", "SUBSET", "READY", "IMAGE", "WORKLOAD"]);
            for version in &self.versions {
                let ready = version.ready.zip(version.pods);
                table.row([
                    self.short(&version.host),
                    version.subset.clone().unwrap_or_default(),
                    ready.map_or("unknown".into(), |(ready, pods)| format!("{ready}/{pods}")),
                    version.images.join(", "),
                    version.workloads.join(", "),
                ]);
            }
            table.write(out, "")?;
        }
        for why in &self.unread {
            let text = format!("not read: {}", escape(why));
            writeln!(out, "{}", palette.paint(Tone::Caution, text))?;
        }
        Ok(())
    }

    /// A host as people call it here: a Service of the own namespace by its name.
    fn short(&self, host: &str) -> String {
        let host = Host::resolve(host, &self.namespace);
        match host.service() {
            Some((name, namespace)) if namespace == self.namespace => name.to_owned(),
            Some((name, namespace)) => format!("{name}.{namespace}"),
            None => host.to_string(),
        }
    }

    fn show_routes(&self, out: &mut dyn Write, palette: Palette) -> io::Result<()> {
        let mut table = Table::new(["ROUTE", "NOW", "SET", "ORIGINAL"]);
        for route in &self.routes {
            table.row([
                route.route.clone(),
                route.now_in_words(),
                route.words(&route.set),
                route.words(&route.original),
            ]);
        }
        table.write(out, "")?;
        for route in &self.routes {
            let text = match route.state {
                RouteState::AsSet => continue,
                RouteState::Changed => "has other weights than the rollout set",
                RouteState::Missing => "was deleted or sends elsewhere",
            };
            let text = format!("{} {text}; changed by another client", escape(&route.route));
            writeln!(out, "{}", palette.paint(Tone::Bad, text))?;
        }
        Ok(())
    }
}

fn phase(row: &StatusRow, palette: Palette) -> String {
    let words: String;
    let (tone, words) = match row.phase {
        Standing::Idle => (Tone::Plain, "no rollout"),
        Standing::Progressing => (Tone::Good, "analyzing the current step"),
        Standing::Waiting => (Tone::Caution, "the step has passed, waiting for promote"),
        Standing::Paused => match &row.hook_failure {
            Some(failure) => {
                words = escape(&reason_text::hook_failed(failure.exposure, &failure.why)).into();
                (Tone::Caution, words.as_str())
            }
            None => (Tone::Caution, "holding at the current weight on request"),
        },
        Standing::Tripped => (
            Tone::Bad,
            "0 % until the regression is confirmed or a false alarm",
        ),
        Standing::Damaged => (Tone::Bad, "the state cannot be read; weights unchanged"),
    };
    format!("{} ({words})", palette.paint(tone, row.phase.word()))
}

fn ladder(row: &StatusRow, palette: Palette) -> Option<String> {
    let (exposure, step, time) = (row.exposure?, row.step?, row.age()?);
    let steps = PlannedStep::exposures(&row.steps);
    let standpoint = StepPosition {
        steps: &steps,
        step,
        exposure,
        tone: Tone::Strong,
    };
    Some(standpoint.row(palette, &age(time)))
}
