//! Tells others what happens: Kubernetes Events on the object, and a URL. Nothing waits for either.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event as KubernetesEvent, EventType, Recorder, Reporter};
use reqwest::Url;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::foreign_text::{foreign_text, keep_secret, root_cause};
use crate::report::{Bulletin, Bulletins};
use crate::rollout::{Event, Observer};

/// How many bulletins may wait; a rollout has some dozens.
const CAPACITY: usize = 256;
/// The longest that one of them may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// What Kubernetes calls the one who reports.
const REPORTER: &str = "kubectl-canary";

/// Publishes bulletins, in order, on a task of its own.
pub(super) struct Publisher {
    bulletins: Bulletins,
    queue: mpsc::Sender<(Event, Bulletin)>,
    task: JoinHandle<Vec<String>>,
}

/// Where bulletins go.
struct Destinations {
    cluster: Cluster,
    recorder: Option<Recorder>,
    regarding: Option<ObjectReference>,
    url: Option<(reqwest::Client, Url)>,
    /// The first failure of each.
    problems: [Option<String>; 2],
}

/// A URL to notify, which is a secret as a rule.
#[derive(Clone, Debug)]
pub struct NotifyUrl(Url);

impl std::str::FromStr for NotifyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        keep_secret(text);
        let url = Url::parse(text).map_err(|_| "not a URL (try: https://HOST/PATH)".to_owned())?;
        keep_secret(url.path());
        match url.scheme() {
            "https" | "http" => Ok(Self(url)),
            _ => Err("not an http or https URL (try: https://HOST/PATH)".into()),
        }
    }
}

impl Publisher {
    /// Begins to publish.
    pub fn start(cluster: &Cluster, client: Client, url: Option<NotifyUrl>) -> Self {
        let (queue, waiting) = mpsc::channel(CAPACITY);
        let reporter = Reporter {
            controller: REPORTER.into(),
            instance: Some(gethostname::gethostname().to_string_lossy().into_owned()),
        };
        let destinations = Destinations {
            cluster: cluster.clone(),
            recorder: Some(Recorder::new(client, reporter)),
            regarding: None,
            url: url.map(|url| (reqwest::Client::new(), url.0)),
            problems: [None, None],
        };
        Self {
            bulletins: Bulletins::new(),
            queue,
            task: tokio::spawn(destinations.publish(waiting)),
        }
    }

    /// Waits so long for what is left, and says what others were not told.
    pub async fn finish(self, patience: Duration) -> Vec<String> {
        let Self { queue, task, .. } = self;
        drop(queue);
        match timeout(patience, task).await {
            Ok(problems) => problems.unwrap_or_default(),
            Err(_) => {
                vec!["warning: others were not told of all that happened: it took too long".into()]
            }
        }
    }
}

impl Observer for Publisher {
    fn see(&mut self, event: &Event) {
        if let Some(bulletin) = self.bulletins.of(event) {
            // What does not fit is for nobody: the record has it.
            let _ = self.queue.try_send((event.clone(), bulletin));
        }
    }
}

/// Why a Kubernetes Event is not written.
struct Unwritten {
    why: String,
    /// Whether the next one may be.
    may_pass: bool,
}

impl From<&kube::Error> for Unwritten {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self {
                why: foreign_text(&status.message),
                may_pass: status.code >= 500 || status.code == 429,
            },
            other => Self {
                why: root_cause(other),
                may_pass: true,
            },
        }
    }
}

impl Destinations {
    async fn publish(mut self, mut waiting: mpsc::Receiver<(Event, Bulletin)>) -> Vec<String> {
        while let Some((event, bulletin)) = waiting.recv().await {
            match self.record(&event, &bulletin).await {
                Ok(()) => {}
                Err(Unwritten {
                    why,
                    may_pass: true,
                }) => {
                    let problem = format!("warning: not every Kubernetes Event was written: {why}");
                    self.problems[0].get_or_insert(problem);
                }
                // What is not allowed will not be a minute later.
                Err(Unwritten {
                    why,
                    may_pass: false,
                }) => {
                    self.recorder = None;
                    let problem = format!("warning: no more Kubernetes Events are written: {why}");
                    self.problems[0] = Some(problem);
                }
            }
            if let Err(why) = self.notify(&event, &bulletin).await {
                self.problems[1].get_or_insert(format!("warning: --notify: {why}"));
            }
        }
        self.problems.into_iter().flatten().collect()
    }

    async fn record(&mut self, event: &Event, bulletin: &Bulletin) -> Result<(), Unwritten> {
        let Some(recorder) = &self.recorder else {
            return Ok(());
        };
        let regarding = match &self.regarding {
            Some(regarding) => regarding.clone(),
            None => {
                let vs = self.cluster.virtual_service(&event.namespace, &event.name);
                let vs = vs.await.map_err(|error| Unwritten {
                    why: error.to_string(),
                    may_pass: error.may_pass(),
                })?;
                let regarding = ObjectReference {
                    api_version: Some(vs.api_version().to_owned()),
                    kind: Some("VirtualService".into()),
                    name: Some(event.name.clone()),
                    namespace: Some(event.namespace.clone()),
                    uid: Some(vs.uid().to_owned()),
                    ..ObjectReference::default()
                };
                self.regarding.insert(regarding).clone()
            }
        };
        let told = KubernetesEvent {
            type_: match bulletin.is_warning {
                true => EventType::Warning,
                false => EventType::Normal,
            },
            reason: bulletin.reason.into(),
            note: Some(bulletin.text.clone()),
            action: bulletin.reason.into(),
            secondary: None,
        };
        match timeout(DEADLINE, recorder.publish(&told, &regarding)).await {
            Ok(published) => published.map_err(|error| Unwritten::from(&error)),
            Err(_) => Err(Unwritten {
                why: "the API server did not answer".into(),
                may_pass: true,
            }),
        }
    }

    async fn notify(&self, event: &Event, bulletin: &Bulletin) -> Result<(), String> {
        let Some((client, url)) = &self.url else {
            return Ok(());
        };
        let sign = if bulletin.is_warning {
            ":warning: "
        } else {
            ""
        };
        let body = json!({
            // What Slack, Mattermost and Google Chat show.
            "text": format!("{sign}{}/{}: {}", event.namespace, event.name, bulletin.text),
            "reason": bulletin.reason,
            "warning": bulletin.is_warning,
            "event": event,
        });
        let asked = client
            .post(url.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string())
            .timeout(DEADLINE)
            .send();
        let answer = asked
            .await
            .map_err(|error| root_cause(&error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the URL answered {status}")),
        }
    }
}
