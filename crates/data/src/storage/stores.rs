//! The stores of this process: one thread that drives all connections, a client for each bucket, and one for all hosts.

use std::io;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectMeta, ObjectStore, RetryConfig};
use tokio::runtime::Handle;

use super::object::{Object, RETRY_TIMEOUT, store_error};

/// How often a request is made again that was refused for a reason that passes, or found no connection.
const RETRIES: usize = 4;

/// Buckets whose clients are kept: each has connections and certificates of its own.
const MAX_BUCKETS: usize = 4;

/// The stack of the connections' thread and of those that look up names.
const STACK_BYTES: usize = 1 << 20;

struct Stores {
    options: Vec<(String, String)>,
    runtime: Option<Handle>,
    /// By scheme and name.
    buckets: Vec<(String, Arc<dyn ObjectStore>)>,
    /// By scheme, http or https. All hosts share it: where each file has a query of its own, each is a store.
    clients: Vec<(String, HttpClient)>,
}

static STORES: Mutex<Stores> =
    Mutex::new(Stores { options: Vec::new(), runtime: None, buckets: Vec::new(), clients: Vec::new() });

fn stores() -> MutexGuard<'static, Stores> {
    // Whatever panicked, the lists are whole.
    STORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets what stores are reached with from now on; see [`super::set_options`].
pub(super) fn set_options(options: Vec<(String, String)>) {
    let mut stores = stores();
    stores.options = options;
    stores.buckets.clear();
    stores.clients.clear();
}

/// The parts of `scheme://authority/path?query`.
struct Url<'a> {
    scheme: String,
    /// A bucket or a host.
    authority: &'a str,
    path: &'a str,
    /// With its question mark. Keys of buckets may have one too, and have no query.
    query: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> io::Result<Url<'a>> {
        let parts = url.split_once("://").filter(|(_, rest)| !rest.is_empty() && !rest.starts_with('/'));
        let (scheme, rest) = parts.ok_or_else(|| wrong("no bucket or host after ://"))?;
        let scheme = scheme.to_ascii_lowercase();
        let is_http = scheme.starts_with("http");
        let (rest, query) = match rest.find('?').filter(|_| is_http) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Url { scheme, authority, path, query })
    }

    fn is_http(&self) -> bool {
        self.scheme.starts_with("http")
    }

    fn key(&self) -> io::Result<Key> {
        let key = if self.is_http() { Key::from_url_path(self.path) } else { Key::parse(self.path) };
        key.map_err(|error| wrong(&error.to_string()))
    }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The object that `url` names, and what its requests run on.
///
/// # Errors
/// A URL that names none, and options that its store cannot work with.
pub(super) fn object(url: &str) -> io::Result<(Object, Handle)> {
    let url = Url::parse(url)?;
    if url.path.is_empty() {
        return Err(wrong("no file after the bucket or host"));
    }
    let (store, runtime) = store(&url)?;
    Ok((Object { store, key: url.key()? }, runtime))
}

fn store(url: &Url<'_>) -> io::Result<(Arc<dyn ObjectStore>, Handle)> {
    let mut stores = stores();
    let runtime = match &stores.runtime {
        Some(runtime) => runtime.clone(),
        None => stores.runtime.insert(start_runtime()?).clone(),
    };
    let _inside = runtime.enter();
    let store = if url.is_http() { stores.host(url) } else { stores.bucket(url) };
    store.map(|store| (store, runtime.clone())).map_err(|error| store_error("", error))
}

impl Stores {
    fn host(&mut self, url: &Url<'_>) -> object_store::Result<Arc<dyn ObjectStore>> {
        let client = match self.clients.iter().find(|(scheme, _)| *scheme == url.scheme) {
            Some((_, client)) => client.clone(),
            None => {
                // Who writes http:// means it.
                let options = ClientOptions::new().with_allow_http(url.scheme == "http");
                let options =
                    apply(&self.options, options, |o, key: ClientConfigKey, value| o.with_config(key, value));
                let client = ReqwestConnector::default().connect(&options)?;
                self.clients.push((url.scheme.clone(), client.clone()));
                client
            }
        };
        let base = format!("{}://{}/{}", url.scheme, url.authority, url.query);
        let builder = HttpBuilder::new().with_url(base).with_http_connector(Shared(client));
        Ok(Arc::new(builder.with_retry(retry()).build()?))
    }

    fn bucket(&mut self, url: &Url<'_>) -> object_store::Result<Arc<dyn ObjectStore>> {
        let name = format!("{}://{}", url.scheme, url.authority);
        if let Some((_, store)) = self.buckets.iter().find(|(open, _)| *open == name) {
            return Ok(store.clone());
        }
        let store: Arc<dyn ObjectStore> = if url.scheme == "s3" {
            let builder = AmazonS3Builder::new().with_bucket_name(url.authority).with_retry(retry());
            let with = |b: AmazonS3Builder, key: AmazonS3ConfigKey, value: &str| b.with_config(key, value);
            Arc::new(apply(&self.options, builder, with).build()?)
        } else {
            let builder =
                GoogleCloudStorageBuilder::new().with_bucket_name(url.authority).with_retry(retry());
            let with =
                |b: GoogleCloudStorageBuilder, key: GoogleConfigKey, value: &str| b.with_config(key, value);
            Arc::new(apply(&self.options, builder, with).build()?)
        };
        if self.buckets.len() >= MAX_BUCKETS {
            self.buckets.remove(0);
        }
        self.buckets.push((name, store.clone()));
        Ok(store)
    }
}

/// Gives a builder those of the options that it knows; those of other stores are among them.
fn apply<B, K: FromStr>(options: &[(String, String)], builder: B, with: impl Fn(B, K, &str) -> B) -> B {
    options.iter().fold(builder, |builder, (key, value)| match key.to_ascii_lowercase().parse() {
        Ok(key) => with(builder, key, value),
        Err(_) => builder,
    })
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT }
}

/// A client that several stores use.
#[derive(Debug)]
struct Shared(HttpClient);

impl HttpConnector for Shared {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// Starts the thread on which connections are driven. It ends with the process.
fn start_runtime() -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(STACK_BYTES)
        .build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("tightfit-stores".to_string()).stack_size(STACK_BYTES).spawn(run)?;
    Ok(handle)
}

/// The keys that a URL ending in a slash, or a pattern, stands for, as URLs in the order of the store.
pub(super) struct Keys {
    runtime: Handle,
    found: BoxStream<'static, object_store::Result<ObjectMeta>>,
    /// `scheme://bucket/`
    base: String,
    pattern: Option<glob::Pattern>,
}

impl Keys {
    /// Begins to list what `url` stands for.
    ///
    /// # Errors
    /// Hosts have no lists; and what [`object`] returns.
    pub fn list(url: &str) -> io::Result<Keys> {
        let url = Url::parse(url)?;
        if url.is_http() {
            return Err(wrong("http has no listing: name each file"));
        }
        let (store, runtime) = store(&url)?;
        let plain = url.path.find(['*', '?', '[']).and_then(|at| url.path.get(..at)).unwrap_or(url.path);
        let pattern = match plain.len() == url.path.len() {
            true => None,
            false => Some(glob::Pattern::new(url.path).map_err(|error| wrong(&error.to_string()))?),
        };
        let folder = plain.rfind('/').and_then(|at| plain.get(..at)).unwrap_or("");
        let prefix = Key::parse(folder).map_err(|error| wrong(&error.to_string()))?;
        let found = store.list(Some(&prefix));
        Ok(Keys { runtime, found, base: format!("{}://{}/", url.scheme, url.authority), pattern })
    }
}

impl Iterator for Keys {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        // As in a shell, a star stops at a slash.
        let rule = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        loop {
            let meta = match self.runtime.block_on(self.found.next())? {
                Ok(meta) => meta,
                Err(error) => return Some(Err(store_error("the list of keys: ", error))),
            };
            let key = meta.location.as_ref();
            if self.pattern.as_ref().is_none_or(|pattern| pattern.matches_with(key, rule)) {
                return Some(Ok(format!("{}{key}", self.base)));
            }
        }
    }
}
