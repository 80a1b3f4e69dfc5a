//! The client: one request, and what became of it.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use ureq::{Agent, Body, Timeout, http};

use super::error::ReplicateError;
use super::idle::{Idle, MAX_IDLE};
use super::target::{rehash_targets, target};
use super::wire::{Closed, Dialer, NoHead, NoResolver, RequestLimits};
use crate::config::settings::ReplicateSettings;
use crate::format::hashes::RemoteHashes;
use crate::format::pickle;
use crate::names::{Partition, PolicyIndex, Suffix};
use crate::peer::node::authority;
use crate::peer::outage::{Outages, Permission};
use crate::ring::Device;

/// What a body may hold. The honest maximum are 4,096 suffixes of 56 bytes, 230 kB.
const MAX_BODY: u64 = 4 << 20;
/// What is read of the body of an error, to be able to use the connection again.
const MAX_ERROR_BODY: u64 = 64 << 10;
const POLICY_HEADER: HeaderName = HeaderName::from_static("x-backend-storage-policy-index");
const REPLICATION_HEADER: HeaderName = HeaderName::from_static("x-backend-replication");

/// Asks peers for hashes; to be shared by all threads.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    method: Method,
    limits: RequestLimits,
    pub(super) idle: Arc<Idle>,
    pub(super) outages: Outages,
}

/// What is asked.
pub(super) enum Ask {
    Replicate,
    Head,
}

/// An answer that came in whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// As the header of that name says.
    pub(super) retry_after: Option<Duration>,
    /// Empty unless the status is 200, or 503 with a short body.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Whether the device wants to be asked later. A server that does not know the policy says 503, too, and will do so
    /// for ever.
    fn is_busy(&self) -> bool {
        match self.status {
            529 => true,
            503 => !self.body.starts_with(b"No policy with index "),
            _ => false,
        }
    }
}

impl Client {
    /// A client without connections.
    ///
    /// It says that it is this user agent: `object-replicator <pid>` (B7.1).
    pub fn new(settings: &ReplicateSettings, user_agent: &str) -> Self {
        let limits = RequestLimits { request: settings.conn_timeout, answer: settings.http_timeout };
        let idle = Arc::new(Idle::default());
        let config = Agent::config_builder()
            .allow_non_standard_methods(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(user_agent)
            .accept(AutoHeaderValue::None)
            .accept_encoding("identity")
            .max_idle_age(MAX_IDLE)
            .max_idle_connections(0) // those below are kept by the wires themselves
            .build();
        let dialer = Dialer { limits, idle: Arc::clone(&idle) };
        let method = Method::from_bytes(b"REPLICATE").expect("a word of letters is a method");
        let agent = Agent::with_parts(config, dialer, NoResolver);
        let outages = Outages::default().with_patience(limits.answer);
        Self { agent, method, limits, idle, outages }
    }

    /// The hashes that the device `to` has of a partition (B7.3). The peer first hashes what it knows to be stale.
    ///
    /// # Errors
    /// [`ReplicateError`] if no complete answer came, its status was not 200, or its hashes cannot be read;
    /// [`ReplicateError::Later`], [`ReplicateError::LeftAlone`] or [`ReplicateError::Silent`] if the device is being
    /// skipped and was not asked.
    pub fn hashes(
        &self,
        to: &Device,
        policy: PolicyIndex,
        partition: Partition,
    ) -> Result<RemoteHashes, ReplicateError> {
        self.dated_hashes(to, policy, partition).map(|(hashes, _)| hashes)
    }

    /// The same, with the time at which the peer answered, in whole seconds of its clock, if it told.
    ///
    /// # Errors
    /// As with [`Client::hashes`].
    pub fn dated_hashes(
        &self,
        to: &Device,
        policy: PolicyIndex,
        partition: Partition,
    ) -> Result<(RemoteHashes, Option<SystemTime>), ReplicateError> {
        self.may_ask(to, true)?;
        let outcome = self.send(to, policy, &Ask::Replicate, &target(to, partition)).and_then(|answer| match answer {
            Answer { status: 200, body, headers, .. } => {
                let hashes = pickle::decode_remote(&body).map_err(ReplicateError::Pickle)?;
                Ok((hashes, date_in(&headers)))
            }
            Answer { status: 507, .. } => Err(ReplicateError::Unmounted),
            Answer { status, retry_after, .. } if answer.is_busy() => Err(ReplicateError::Busy { status, retry_after }),
            Answer { status, .. } => Err(ReplicateError::Status(status)),
        });
        self.note(to, outcome.as_ref().err());
        outcome
    }

    /// When the server of the device answers a question, whatever its answer is, in whole seconds of its clock; `None` if it
    /// does not answer, or does not tell.
    pub fn date(&self, to: &Device, policy: PolicyIndex, partition: Partition) -> Option<SystemTime> {
        let answer = self.send(to, policy, &Ask::Replicate, &target(to, partition)).ok()?;
        date_in(&answer.headers)
    }

    /// Tells the device `to` that these suffixes of a partition changed, as after every push with rsync (B7.5).
    ///
    /// A list that is too long for one request line, which the reference's servers refuse, is sent in several.
    /// The result is the first status that is not 200, else 200. A device that is busy is told as well, since it has no
    /// other way to learn of the change.
    ///
    /// # Errors
    /// [`ReplicateError`] if one of the requests got no complete answer. A status other than 200 is a result, not an
    /// error.
    pub fn rehash(
        &self,
        to: &Device,
        policy: PolicyIndex,
        partition: Partition,
        suffixes: &[Suffix],
    ) -> Result<u16, ReplicateError> {
        let mut status = 200;
        for target in rehash_targets(to, partition, suffixes) {
            self.may_ask(to, false)?;
            let outcome = self.send(to, policy, &Ask::Replicate, &target);
            match &outcome {
                Ok(answer) if answer.is_busy() => self.outages.busy(to, answer.status, answer.retry_after),
                outcome => self.note(to, outcome.as_ref().err()),
            }
            status = outcome?.status;
            if status != 200 {
                break;
            }
        }
        Ok(status)
    }

    /// Closes the connections that wait for another request: at the end of a pass there will be none.
    pub fn close_idle(&self) {
        self.idle.close();
    }

    /// The peers that cannot be reached: the client asks nothing of them for a while. Pushes may go by it too.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// How long one request may take, at most: with another attempt if a kept connection turns out to be dead.
    pub fn longest_request(&self) -> Duration {
        (self.limits.request + self.limits.answer) * 2
    }

    /// How long the device, which is too busy, is not to be asked; `None` if it may be asked as far as that goes.
    pub fn wait_for(&self, to: &Device) -> Option<Duration> {
        self.outages.wait_for(to)
    }

    pub(super) fn may_ask(&self, to: &Device, or_later: bool) -> Result<(), ReplicateError> {
        match self.outages.permission(to) {
            Permission::Unreachable => Err(ReplicateError::LeftAlone),
            Permission::Silent => Err(ReplicateError::Silent),
            Permission::Later if or_later => Err(ReplicateError::Later),
            Permission::Granted | Permission::Later => Ok(()),
        }
    }

    /// Notes what a request that was sent says of the node and the device. What went wrong on this side says nothing.
    pub(super) fn note(&self, to: &Device, error: Option<&ReplicateError>) {
        match error {
            Some(ReplicateError::Busy { status, retry_after }) => self.outages.busy(to, *status, *retry_after),
            Some(error) if error.is_unreachable() => self.outages.unreachable(to),
            Some(error) if error.is_unanswered() => self.outages.unanswered(to),
            None | Some(ReplicateError::Unmounted | ReplicateError::Status(_)) => self.outages.reached(to),
            Some(_) => {}
        }
    }

    /// Sends a request, on a new connection if a kept one turns out to be dead.
    pub(super) fn send(
        &self,
        to: &Device,
        policy: PolicyIndex,
        ask: &Ask,
        target: &str,
    ) -> Result<Answer, ReplicateError> {
        let uri = format!("http://{}{target}", authority(to));
        let request = || {
            let request =
                Request::builder().uri(uri.as_str()).header(POLICY_HEADER, HeaderValue::from(policy.number()));
            let request = match ask {
                Ask::Replicate => {
                    let request = request.method(self.method.clone());
                    request.header(header::CONTENT_LENGTH, HeaderValue::from_static("0"))
                }
                Ask::Head => request.method(Method::HEAD).header(REPLICATION_HEADER, HeaderValue::from_static("true")),
            };
            request.body(()).map_err(ureq::Error::from)
        };
        let response = match request().and_then(|request| self.agent.run(request)) {
            Err(e) if was_kept(&e) => request().and_then(|request| {
                let on_new_connection = self.agent.configure_request(request).max_idle_age(Duration::ZERO).build();
                self.agent.run(on_new_connection)
            }),
            outcome => outcome,
        };
        response.and_then(read).map_err(|e| self.error(e, to))
    }

    fn error(&self, error: ureq::Error, to: &Device) -> ReplicateError {
        match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect | Timeout::SendRequest) => {
                ReplicateError::NoConnection(self.limits.request)
            }
            ureq::Error::Timeout(_) => ReplicateError::NoAnswer(self.limits.answer),
            ureq::Error::HostNotFound => ReplicateError::UnknownHost(to.replication_ip.clone()),
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => ReplicateError::CutShort,
            ureq::Error::Io(e) => ReplicateError::Io(e),
            ureq::Error::Other(e) if e.is::<Closed>() => ReplicateError::Closed,
            ureq::Error::Other(e) if e.is::<NoHead>() => ReplicateError::NotHttp(e.to_string()),
            ureq::Error::BodyExceedsLimit(limit) => ReplicateError::TooLong(limit),
            ureq::Error::Http(e) => ReplicateError::Request(e.to_string()),
            ureq::Error::BadUri(e) => ReplicateError::Request(e),
            ureq::Error::Protocol(e) => ReplicateError::NotHttp(e.to_string()),
            e => ReplicateError::NotHttp(e.to_string()),
        }
    }
}

/// Whether a kept connection turned out to be dead before it brought any answer.
fn was_kept(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::Other(e) if e.downcast_ref::<Closed>().is_some_and(|closed| closed.kept))
}

/// When the answer was given, as it says.
fn date_in(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()
}

/// Reads the body of a good answer. That of an error is of no interest but to tell one 503 from another, and only read,
/// if it is short, to be able to use the connection again.
fn read(mut response: http::Response<Body>) -> Result<Answer, ureq::Error> {
    let status = response.status().as_u16();
    let length = response.body().content_length();
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    if status == 200 {
        body.reserve(length.unwrap_or_default().min(MAX_BODY) as usize);
        response.body_mut().with_config().limit(MAX_BODY).reader().read_to_end(&mut body)?;
    } else if length.is_some_and(|length| length <= MAX_ERROR_BODY) {
        let _ = response.body_mut().as_reader().read_to_end(&mut body);
        if status != 503 {
            body.clear();
        }
    }
    let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), headers, body })
}
