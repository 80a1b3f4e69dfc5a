//! Orders to a running daemon: over a socket beside the recon cache ([`socket`], [`server`]), answered ([`answer`]), kept
//! over a restart if that is asked for ([`keep`]), and what they and the hours of the day change said in the log.
//!
//! One thread does all of that. It asks nothing of the threads that do the work, and they ask nothing of it: orders are
//! state that passes look at. So a client that is slow, or a disk that hangs below the socket, keeps nobody waiting but
//! clients.

mod answer;
mod client;
mod first;
mod keep;
mod server;
mod socket;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::warn;

use super::publish::Publisher;
use super::threads;
use crate::config::settings::{Settings, SyncMethod};
use crate::locks::lock;
use crate::notice;
use crate::orders::Orders;
use crate::orders::limits::LimitInForce;
use crate::orders::moment::Moment;
use crate::orders::wire::{Answer, Request, Shown};
use crate::pass::ProcessState;
use crate::pass::policies::Policies;
use crate::report::orders as words;
use answer::Caller;
use server::Server;
pub(super) use socket::Place;

/// How long the start waits for the disk with the orders that were kept.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// What takes orders.
pub(super) struct Control {
    orders: Arc<Orders>,
    /// What finds partitions that are to go first.
    lasting: ProcessState,
    state: Mutex<State>,
    /// Where the socket is, for whoever ends the process.
    place: Place,
}

/// What orders are understood by, and what was said of them.
struct State {
    folder: PathBuf,
    policies: Arc<Policies>,
    sync_method: SyncMethod,
    /// The limits as the log was told last.
    told: Vec<LimitInForce>,
}

impl Control {
    /// One for the configuration in force.
    pub(super) fn new(lasting: &ProcessState, settings: &Settings, policies: &Arc<Policies>, place: Place) -> Self {
        let state = State {
            folder: settings.recon_cache_path.clone(),
            policies: Arc::clone(policies),
            sync_method: settings.sync_method,
            told: Vec::new(),
        };
        Self { orders: Arc::clone(&lasting.orders), lasting: lasting.clone(), state: Mutex::new(state), place }
    }

    /// Goes by another configuration from now on.
    pub(super) fn renew(&self, settings: &Settings, policies: &Arc<Policies>) {
        let mut state = lock(&self.state);
        state.folder.clone_from(&settings.recon_cache_path);
        (state.policies, state.sync_method) = (Arc::clone(policies), settings.sync_method);
    }

    /// Says what is in force at the start. A daemon takes up the orders that an earlier one has kept; a single pass goes
    /// by the configuration.
    pub(super) fn begin(&self, is_daemon: bool) {
        if is_daemon {
            self.restore_soon();
        }
        words::out_of_the_ordinary(&self.orders.shown(Moment::now())).iter().for_each(|line| notice!("Orders: {line}"));
        lock(&self.state).told = self.orders.limits(Moment::now());
    }

    /// Takes up the orders that were kept. If their disk hangs, nobody waits for it for long: they hold once it answers.
    fn restore_soon(&self) {
        let (folder, orders) = (self.folder(), Arc::clone(&self.orders));
        let (done, restored) = crossbeam_channel::bounded(1);
        let read = move || {
            match keep::read(&folder) {
                Ok(kept) => orders.restore(kept),
                Err(error) => warn!("Orders that were to be kept are ignored: {error}"),
            }
            // Nobody may wait for it any more.
            let _ = done.send(());
        };
        if let Err(error) = threads::start("kept orders", read) {
            warn!("Orders that were to be kept are ignored: no thread can be started to read them: {error}");
        } else if restored.recv_timeout(PATIENCE).is_err() {
            warn!("{} does not answer: orders that were kept there hold once it does", self.folder().display());
        }
    }

    /// Starts to listen, and to say what changes; a single pass does not listen.
    ///
    /// # Errors
    /// The system's error if no thread can be started.
    pub(super) fn start(self: &Arc<Self>, listens: bool, publisher: &Arc<Publisher>) -> io::Result<()> {
        let (control, publisher) = (Arc::clone(self), Arc::clone(publisher));
        threads::start("control", move || Server::new(control, publisher, listens).serve())
    }

    fn folder(&self) -> PathBuf {
        lock(&self.state).folder.clone()
    }

    /// Does what is asked, and answers.
    fn answer(&self, request: &Request, caller: &Caller) -> Answer {
        let now = Moment::now();
        let (policies, sync_method) = {
            let state = lock(&self.state);
            (Arc::clone(&state.policies), state.sync_method)
        };
        let mut answer = self.empty_answer();
        let outcome = match request {
            Request::First { terms, .. } => caller.order(terms, now.unix).and_then(|order| {
                let (number, line) = first::give(&self.lasting, request, order)?;
                answer.first = self.orders.first.find(number, now.unix);
                Ok(vec![line])
            }),
            Request::FirstState { number } => {
                answer.first = self.orders.first.find(*number, now.unix);
                Ok(Vec::new())
            }
            request => answer::obey(&self.orders, &policies, request, caller, now),
        };
        match outcome {
            Ok(done) => {
                done.iter().for_each(|line| notice!("Orders: {line}"));
                answer.lines = done;
                answer.lines.extend(answer::advice(request, sync_method));
                if !matches!(request, Request::Show {} | Request::First { .. } | Request::FirstState { .. }) {
                    answer.lines.extend(self.keep());
                }
            }
            Err(error) => answer.error = Some(error),
        }
        self.tell_changes();
        answer.orders = self.shown();
        answer
    }

    fn empty_answer(&self) -> Answer {
        let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION").to_owned());
        Answer { pid, version, ..Answer::default() }
    }

    fn shown(&self) -> Shown {
        self.orders.shown(Moment::now())
    }

    /// Writes what outlives the process; why that could not be, if so.
    fn keep(&self) -> Option<String> {
        let kept = self.orders.kept(Moment::now().unix);
        let error = keep::write(&self.folder(), &kept).err()?;
        warn!("Orders: {error}");
        Some(format!("A restart may not find it as it is now: {error}"))
    }

    /// Says in the log which orders are over, and which limits are others now. Says whether there was anything to say.
    fn tell_changes(&self) -> bool {
        let now = Moment::now();
        let over = self.orders.expire(now.unix);
        over.iter().for_each(|over| notice!("Orders: {}", words::over(over)));
        if !over.is_empty() {
            self.keep();
        }
        let limits = self.orders.limits(now);
        let told = std::mem::replace(&mut lock(&self.state).told, limits.clone());
        let changed = told.iter().zip(&limits).filter(|(old, new)| old.value != new.value);
        let lines: Vec<_> = changed.map(|(old, new)| words::change(old, new)).collect();
        lines.iter().for_each(|line| notice!("{line}"));
        !over.is_empty() || !lines.is_empty()
    }
}
