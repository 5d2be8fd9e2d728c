//! The Lease that tells whether a driver lives.
//!
//! It has client-go's semantics: whether the holder lives is judged by the record changing while we
//! watch it, never by comparing its clock with ours. It protects nothing; what protects is the
//! patch, whose tests fail for a driver that was replaced.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Record, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::core::params::PostParams;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Cluster;
use super::call::{CallError, ErrorKind, bounded, soon};
use crate::clock::Clock;
use crate::istio::{FIELD_MANAGER, VirtualService};

/// How often the holder renews.
pub const RENEW: Duration = Duration::from_secs(5);

/// How long one attempt to renew it may take.
const RENEWED_WITHIN: Duration = Duration::from_secs(3);

/// The annotation with which a driver tells what it saw last.
const REPORT: &str = "kubectl-canary.dev/driver-report";

/// How long giving it back may take.
const RELEASE: Duration = Duration::from_secs(2);

/// How often the record is read again while waiting for it, and how soon a renewal that failed is tried
/// again.
const RETRY: Duration = Duration::from_secs(1);

/// Why the lease was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another driver is alive.
    #[error("{object} is driven by {holder} (try: kubectl canary status, promote, pause or abort)")]
    Held {
        /// `virtualservice namespace/name`.
        object: String,
        /// Who.
        holder: String,
    },
    /// The API server did not let us.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The lease of one VirtualService.
pub struct Lease {
    api: Api<Record>,
    name: String,
    object: String,
    owner: OwnerReference,
    deadline: Duration,
    clock: Clock,
}

/// A lease that is held and renewed until it is released or lost.
pub struct LeaseGuard {
    lease: Option<Lease>,
    holder: String,
    renewing: Option<JoinHandle<()>>,
    lost: watch::Receiver<Option<String>>,
    report: LeaseReport,
}

/// Where a driver writes what others shall read; it goes out with the next renewal.
#[derive(Clone, Debug, Default)]
pub struct LeaseReport(Arc<Mutex<Option<String>>>);

impl LeaseReport {
    /// Writes over what stood there.
    pub fn write(&self, report: String) {
        *self.lock() = Some(report);
    }

    fn read(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        // What a panicking writer left is still a whole text.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver as its lease shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// The holder; `None` where the lease was released or never taken.
    pub holder: Option<String>,
    /// When it was renewed last, by the holder's clock.
    pub renewed: Option<Timestamp>,
    /// The last report that the driver wrote on the lease.
    pub report: Option<String>,
}

impl LeaseStatus {
    /// Whether it has a holder that renewed it within its duration, if both clocks agree. Good enough
    /// to show; a takeover waits and watches the record instead.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let recent =
            |renewed: Timestamp| now.duration_since(renewed).unsigned_abs() <= Lease::DURATION;
        self.holder.is_some() && self.renewed.is_some_and(recent)
    }
}

/// Tells when the lease is lost.
pub struct LeaseWatch(watch::Receiver<Option<String>>);

impl LeaseWatch {
    /// Waits until another holder has taken the lease, and returns its name; once for each time that happens.
    /// Cancel safe.
    pub async fn lost(&mut self) -> String {
        loop {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(holder) = self.0.borrow_and_update().clone() {
                return holder;
            }
        }
    }
}

impl Lease {
    /// How long a holder counts as alive without renewing.
    pub const DURATION: Duration = Duration::from_secs(15);

    /// The lease of `vs`, in its namespace.
    pub fn of(cluster: &Cluster, vs: &VirtualService, clock: &Clock) -> Self {
        let version = vs
            .raw()
            .get("apiVersion")
            .and_then(serde_json::Value::as_str);
        Self {
            api: Api::namespaced(cluster.client.clone(), vs.namespace()),
            name: format!("kubectl-canary-{}", vs.name()),
            object: format!("virtualservice {}", vs.full_name()),
            owner: OwnerReference {
                api_version: version.unwrap_or("networking.istio.io/v1").to_owned(),
                kind: "VirtualService".into(),
                name: vs.name().to_owned(),
                uid: vs.uid().to_owned(),
                ..OwnerReference::default()
            },
            deadline: cluster.deadline,
            clock: clock.clone(),
        }
    }

    /// Reads who drives this object.
    ///
    /// RBAC: `get` on `leases`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn status(&self) -> Result<LeaseStatus, CallError> {
        let attempted = format!("get lease {}", self.name);
        let record = soon(&attempted, self.get()).await?;
        let spec = record.as_ref().and_then(|record| record.spec.as_ref());
        Ok(LeaseStatus {
            holder: record.as_ref().and_then(holder_of),
            renewed: spec.and_then(|spec| Some(spec.renew_time.as_ref()?.0)),
            report: record.and_then(|record| record.metadata.annotations?.remove(REPORT)),
        })
    }

    /// Who drives this object now, if that is seen within a lease's duration.
    async fn outlives(&self, first: &Record) -> Result<Option<String>, CallError> {
        // One that was given back needs no waiting.
        if holder_of(first).is_none() {
            return Ok(None);
        }
        let until = tokio::time::Instant::now() + Self::DURATION;
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(RETRY).await;
            match self.get().await? {
                None => return Ok(None),
                Some(now) if holder_of(&now).is_none() => return Ok(None),
                Some(now) if now.spec != first.spec => return Ok(holder_of(&now)),
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// Takes the lease for `holder`, or tells who is alive and has it.
    ///
    /// Takes as long as it takes to see that: at most [`Lease::DURATION`].
    ///
    /// RBAC: `get`, `create` and `update` on `leases`.
    ///
    /// # Errors
    /// [`LeaseError::Held`] if another driver is alive.
    pub async fn acquire(self, holder: &str) -> Result<LeaseGuard, LeaseError> {
        let record = self.take(holder, true).await?;
        Ok(self.keep(holder, record))
    }

    /// Takes the lease for `holder` whoever has it, alive or not: where nobody can wait to see.
    ///
    /// RBAC: as [`Lease::acquire`].
    ///
    /// # Errors
    /// If the API server does not let us.
    pub async fn seize(self, holder: &str) -> Result<LeaseGuard, LeaseError> {
        let record = self.take(holder, false).await?;
        Ok(self.keep(holder, record))
    }

    async fn take(&self, holder: &str, patient: bool) -> Result<Record, LeaseError> {
        loop {
            let taken = match self.get().await? {
                None => match self.create(holder).await {
                    // Its namespace is not there, and asked again at once it would not be there either.
                    Err(error) if error.kind == ErrorKind::Missing => return Err(error.into()),
                    created => created,
                },
                Some(record) => {
                    if patient && let Some(holder) = self.outlives(&record).await? {
                        return Err(LeaseError::Held {
                            object: self.object.clone(),
                            holder,
                        });
                    }
                    self.replace(&record, Some(holder), None).await
                }
            };
            match taken {
                Ok(record) => return Ok(record),
                // Another client was faster: read who.
                Err(error)
                    if matches!(
                        error.kind,
                        ErrorKind::Precondition | ErrorKind::Exists | ErrorKind::Missing
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(self, holder: &str, record: Record) -> LeaseGuard {
        let (tell, lost) = watch::channel(None);
        let report = LeaseReport::default();
        let renewing = self
            .again()
            .renew(holder.to_owned(), record, report.clone(), tell);
        LeaseGuard {
            lease: Some(self),
            holder: holder.to_owned(),
            renewing: Some(tokio::spawn(renewing)),
            lost,
            report,
        }
    }

    /// Renews it for ever. Where another process has taken it, that is told, and it is taken back once that
    /// one has given it up or died: whether this driver goes on until then, the object decides.
    async fn renew(
        mut self,
        holder: String,
        mut record: Record,
        report: LeaseReport,
        tell: watch::Sender<Option<String>>,
    ) {
        // A call that hangs longer would hide that another driver has taken the lease.
        self.deadline = self.deadline.min(RENEWED_WITHIN);
        let mut pause = RENEW;
        loop {
            tokio::time::sleep(pause).await;
            pause = RETRY;
            let renewed = self.replace(&record, Some(&holder), report.read()).await;
            let taken = match renewed {
                Ok(renewed) => {
                    (record, pause) = (renewed, RENEW);
                    continue;
                }
                Err(error) if error.kind == ErrorKind::Precondition => match self.get().await {
                    Ok(Some(now)) if holder_of(&now).as_deref() == Some(&holder) => {
                        (record, pause) = (now, RENEW);
                        continue;
                    }
                    Ok(Some(now)) => holder_of(&now),
                    Ok(None) | Err(_) => continue,
                },
                Err(error) if error.kind == ErrorKind::Missing => None,
                // A server that does not answer is no reason to think that the lease was lost.
                Err(_) => continue,
            };
            if let Some(by) = taken {
                let _ = tell.send(Some(by));
            }
            record = loop {
                match self.take(&holder, true).await {
                    Ok(record) => break record,
                    Err(_) => tokio::time::sleep(RENEW).await,
                }
            };
            pause = RENEW;
        }
    }

    fn again(&self) -> Self {
        Self {
            api: self.api.clone(),
            name: self.name.clone(),
            object: self.object.clone(),
            owner: self.owner.clone(),
            deadline: self.deadline,
            clock: self.clock.clone(),
        }
    }

    async fn get(&self) -> Result<Option<Record>, CallError> {
        let attempted = format!("get lease {}", self.name);
        bounded(&attempted, self.deadline, self.api.get_opt(&self.name)).await
    }

    async fn create(&self, holder: &str) -> Result<Record, CallError> {
        let now = MicroTime(self.clock.now());
        let labels = [(
            "app.kubernetes.io/managed-by".to_owned(),
            "kubectl-canary".to_owned(),
        )];
        let record = Record {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels.into()),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(Self::DURATION.as_secs() as i32),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        };
        let attempted = format!("create lease {}", self.name);
        bounded(
            &attempted,
            self.deadline,
            self.api.create(&params(), &record),
        )
        .await
    }

    /// Writes the record with a new holder, a renewed time or no holder, and the driver's report.
    async fn replace(
        &self,
        record: &Record,
        holder: Option<&str>,
        report: Option<String>,
    ) -> Result<Record, CallError> {
        let mut record = record.clone();
        let now = MicroTime(self.clock.now());
        let spec = record.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != holder {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
        }
        spec.holder_identity = Some(holder.unwrap_or_default().to_owned());
        spec.lease_duration_seconds = Some(holder.map_or(1, |_| Self::DURATION.as_secs() as i32));
        spec.renew_time = Some(now);
        record.metadata.managed_fields = None;
        let annotations = record.metadata.annotations.get_or_insert_default();
        match report {
            Some(report) => annotations.insert(REPORT.to_owned(), report),
            // The report of another driver is not this one's.
            None => annotations.remove(REPORT),
        };
        let attempted = format!("update lease {}", self.name);
        bounded(
            &attempted,
            self.deadline,
            self.api.replace(&self.name, &params(), &record),
        )
        .await
    }
}

impl LeaseGuard {
    /// A keeper of no lease, for those who may not have one.
    pub fn without_lease(holder: &str) -> Self {
        let (_, lost) = watch::channel(None);
        Self {
            lease: None,
            holder: holder.to_owned(),
            renewing: None,
            lost,
            report: LeaseReport::default(),
        }
    }

    /// Where the driver leaves its report for `status`.
    pub fn report(&self) -> LeaseReport {
        self.report.clone()
    }

    /// Tells when the lease is lost.
    pub fn watch(&self) -> LeaseWatch {
        LeaseWatch(self.lost.clone())
    }

    /// Releases the lease, so that the next driver need not wait for it to run out. Failing is no harm, so it
    /// does not take long.
    pub async fn release(mut self) {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
        let Some(lease) = self.lease.take() else {
            return;
        };
        let giving_back = async {
            if let Ok(Some(record)) = lease.get().await
                && holder_of(&record).as_deref() == Some(&self.holder)
            {
                let _ = lease.replace(&record, None, self.report.read()).await;
            }
        };
        let _ = tokio::time::timeout(RELEASE, giving_back).await;
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}

fn holder_of(record: &Record) -> Option<String> {
    let holder = record.spec.as_ref()?.holder_identity.clone()?;
    (!holder.is_empty()).then_some(holder)
}

#[cfg(test)]
#[cfg(feature = "demo")]
mod tests {
    use super::*;
    use crate::sandbox::{ApiFault, Rule, World, fixtures};

    async fn lease_of(world: &World, user: &str) -> Lease {
        let cluster = Cluster::new(world.client_as(user, "shop"), Duration::from_secs(300));
        let vs = cluster.virtual_service("shop", "reviews").await.unwrap();
        Lease::of(&cluster, &vs, world.clock())
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_hangs_does_not_hide_that_the_lease_is_lost() {
        let world = World::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
        world.set(fixtures::shop);
        let first = lease_of(&world, "alice").await.acquire("alice").await;
        let mut lost = first.as_ref().unwrap().watch();
        let hang = Rule::new(ApiFault::Hang { applied: false }).by("alice");
        world.faults().api(hang.on("update").of("leases"));
        let second = lease_of(&world, "bob").await.acquire("bob").await;
        // One renewal may still be on its way to nowhere; those that follow get through.
        world.faults().clear();
        let began = tokio::time::Instant::now();
        assert_eq!(lost.lost().await, "bob");
        assert!(
            began.elapsed() <= Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        drop((first, second));
    }
}
