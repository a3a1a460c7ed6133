//! What the gate reports: to people line by line, to the journal with typed fields beside the text, each once per decision.

use std::path::Path;

use super::run::Bootstrap;
use super::voice::status_line;
use crate::core::decide::{Decision, Draft, Rule, Verdict};
use crate::core::model::Generation;
use crate::core::plan::{Plan, PlannedSnapshot};
use crate::error::Error;
use crate::event;

/// What takes a request back.
const CANCEL: &str = "lifeboat restore-once --cancel";

impl Bootstrap {
    /// Something that happened once.
    pub(super) fn say(&self, text: &str) {
        tracing::info!("{text}");
        self.voice.line(text);
        self.voice.status(text);
    }

    /// Something that may be so again at the next look, or at the next attempt; whether it was news.
    pub(super) fn warn(&self, topic: &'static str, text: &str) -> bool {
        let news = self.voice.is_news(topic, text, self.clock.monotonic());
        if news {
            tracing::warn!("{text}");
            self.voice.line(&format!("warning: {text}"));
        }
        news
    }

    /// Says a verdict, unless it was said a moment ago; whether it was news. What `systemctl status` shows is renewed in any case.
    pub(super) fn tell(&self, topic: &'static str, verdict: &Verdict) -> bool {
        let reason = format!("{} {} {}", verdict.rule, verdict.decision, verdict.because);
        let news = self.voice.is_news(topic, &reason, self.clock.monotonic());
        if news {
            journal(verdict);
            self.voice.line(&one_line(verdict));
        }
        self.show(verdict);
        news
    }

    /// Says that the step of a verdict failed and is tried again.
    pub(super) fn tell_failed(&self, verdict: &mut Verdict, e: &Error) {
        verdict.because = format!("{} [the step failed and is tried again: {}]", verdict.because, e.one_line());
        verdict.hint = e.advice().or(verdict.hint.take());
        // Whoever asked for it may always take it back.
        let asked = matches!(verdict.rule, Rule::F1 | Rule::F2);
        if asked && !verdict.hint.as_ref().is_some_and(|h| h.contains(CANCEL)) {
            let before = verdict.hint.take().map(|h| format!("{h}; ")).unwrap_or_default();
            verdict.hint = Some(format!("{before}to take the request back, type: {CANCEL}"));
        }
        if self.tell("verdict", verdict) {
            restore_error(verdict, e);
        }
        let head = format!("{} {} failed and is tried again", verdict.rule, word(&verdict.decision));
        self.voice.status(&status_line(&head, &e.one_line(), verdict.hint.as_deref()));
    }

    /// Says the verdict that a run ends with.
    pub(super) fn tell_now(&self, verdict: &Verdict) {
        journal(verdict);
        self.voice.line(&one_line(verdict));
        self.show(verdict);
    }

    /// Says that it is this host that plans; once, however often that is tried.
    pub(super) fn tell_seed(&self, draft: &Draft) {
        let (generation, what) = (draft.generation, draft.snapshot.as_ref().map(ToString::to_string));
        let what = what.unwrap_or_else(|| "an empty cluster".to_owned());
        let text = format!("this host is the seed of generation {generation}: it builds {what}, then writes the plan");
        if self.voice.is_news("seed", &text, self.clock.monotonic()) {
            event!(SeedElected, generation = generation.0, "{text}");
            self.voice.line(&text);
        }
    }

    fn show(&self, verdict: &Verdict) {
        let head = format!("{} {}", verdict.rule, word(&verdict.decision));
        let mut why = verdict.because.clone();
        for note in &verdict.notes {
            why.push_str(&format!(" | note: {note}"));
        }
        self.voice.status(&status_line(&head, &why, verdict.hint.as_deref()));
    }
}

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Start => "START",
        Decision::Wait { .. } => "WAIT",
        Decision::Refuse { .. } => "REFUSE",
        Decision::Resume { .. } => "RESUME",
        Decision::Apply { .. } => "APPLY",
        Decision::MakePlan(_) => "PLAN",
        Decision::Quarantine => "QUARANTINE",
        Decision::PutBack { .. } => "PUT BACK",
        Decision::Join { .. } => "JOIN",
    }
}

/// Rule, decision, reason and hint as one line of a log.
fn one_line(verdict: &Verdict) -> String {
    let mut line = format!("{} {}: {}", verdict.rule, word(&verdict.decision), verdict.because);
    for note in &verdict.notes {
        line.push_str(&format!(" | note: {note}"));
    }
    if let Some(hint) = &verdict.hint {
        line.push_str(&format!(" | hint: {hint}"));
    }
    line
}

fn journal(verdict: &Verdict) {
    let (rule, text) = (verdict.rule, one_line(verdict));
    match &verdict.decision {
        Decision::Refuse { reason } => event!(RestoreRefused, rule = %rule, reason = ?reason, "{text}"),
        Decision::Wait { reason } => tracing::warn!(rule = %rule, reason = ?reason, "{text}"),
        _ => tracing::info!(rule = %rule, "{text}"),
    }
}

pub(super) fn plan_created(plan: &Plan) {
    event!(
        PlanCreated,
        generation = plan.generation.0,
        cause = %plan.cause,
        snapshot = plan.snapshot.as_ref().map(|s| s.name.as_str()).unwrap_or_default(),
        "wrote plan {} ({})",
        plan.generation,
        plan.cause
    );
}

pub(super) fn quarantined(aside: &Path, generation: Generation) {
    event!(
        Quarantined,
        generation = generation.0,
        path = %aside.display(),
        "moved the old member to {}; nothing was deleted",
        aside.display()
    );
}

pub(super) fn restore_successful(plan: &Plan, snapshot: &PlannedSnapshot) {
    event!(
        RestoreSuccessful,
        generation = plan.generation.0,
        snapshot = %snapshot.name,
        revision = snapshot.revision.0,
        "restored {} (revision {}) as generation {}",
        snapshot.name,
        snapshot.revision,
        plan.generation
    );
}

pub(super) fn restore_skipped(plan: &Plan) {
    event!(
        RestoreSkipped,
        generation = plan.generation.0,
        "there is no state to restore: formed generation {}",
        plan.generation
    );
}

pub(super) fn restore_error(verdict: &Verdict, e: &Error) {
    event!(RestoreError, rule = %verdict.rule, kind = e.kind().label(), "{}", e.one_line());
}
