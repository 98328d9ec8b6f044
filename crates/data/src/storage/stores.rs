//! The stores of this process: one thread that drives all connections, one client for each bucket or host.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientConfigKey, ObjectMeta, ObjectStore, RetryConfig};
use tokio::runtime::Handle;

use super::object::{Object, store_error};

/// How often a request is made again that was refused for a reason that passes, or found no connection.
const RETRIES: usize = 4;

/// No request is made again this long after the first.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Clients that are kept: each holds connections and certificates.
const MAX_STORES: usize = 8;

/// The stack of the connections' thread and of those that look up names.
const STACK_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Stores {
    options: Vec<(String, String)>,
    runtime: Option<Handle>,
    /// By scheme and bucket, or scheme, host and query.
    open: Vec<(String, Arc<dyn ObjectStore>)>,
}

static STORES: Mutex<Stores> = Mutex::new(Stores { options: Vec::new(), runtime: None, open: Vec::new() });

fn stores() -> MutexGuard<'static, Stores> {
    // Whatever panicked, the lists are whole.
    STORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets what stores are reached with from now on; see [`super::set_options`].
pub(super) fn set_options(options: Vec<(String, String)>) {
    let mut stores = stores();
    stores.options = options;
    stores.open.clear();
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
        let (scheme, rest) = parts.ok_or_else(|| wrong("no bucket or host behind ://"))?;
        let scheme = scheme.to_ascii_lowercase();
        let is_http = scheme.starts_with("http");
        let (rest, query) = match rest.find('?').filter(|_| is_http) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Url { scheme, authority, path, query })
    }

    fn key(&self) -> io::Result<Key> {
        let key = if self.scheme.starts_with("http") {
            Key::from_url_path(self.path)
        } else {
            Key::parse(self.path)
        };
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
        return Err(wrong("no file behind the bucket or host"));
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
    let name = format!("{}://{}/{}", url.scheme, url.authority, url.query);
    if let Some((_, store)) = stores.open.iter().find(|(open, _)| *open == name) {
        return Ok((store.clone(), runtime));
    }
    let _inside = runtime.enter();
    let store = build(url, &name, &stores.options).map_err(|error| store_error("", error))?;
    if stores.open.len() >= MAX_STORES {
        stores.open.remove(0);
    }
    stores.open.push((name, store.clone()));
    Ok((store, runtime))
}

fn build(
    url: &Url<'_>,
    base: &str,
    options: &[(String, String)],
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT };
    let options = options.iter().map(|(key, value)| (key.to_ascii_lowercase(), value));
    // Each store takes what it knows of the options; those of the other stores are among them.
    Ok(match url.scheme.as_str() {
        "s3" => {
            let builder = options.fold(AmazonS3Builder::new(), |b, (key, value)| match key.parse() {
                Ok(key) => b.with_config(key, value),
                Err(_) => b,
            });
            Arc::new(builder.with_bucket_name(url.authority).with_retry(retry).build()?)
        }
        "gs" => {
            let builder =
                options.fold(GoogleCloudStorageBuilder::new(), |b, (key, value)| match key.parse() {
                    Ok(key) => b.with_config(key, value),
                    Err(_) => b,
                });
            Arc::new(builder.with_bucket_name(url.authority).with_retry(retry).build()?)
        }
        scheme => {
            // Who writes http:// means it.
            let allow_http = if scheme == "http" { "true" } else { "false" };
            let builder = HttpBuilder::new().with_config(ClientConfigKey::AllowHttp, allow_http);
            let builder = options.fold(builder, |b, (key, value)| match key.parse() {
                Ok(key) => b.with_config(key, value),
                Err(_) => b,
            });
            Arc::new(builder.with_url(base).with_retry(retry).build()?)
        }
    })
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
        if url.scheme.starts_with("http") {
            return Err(wrong("files behind http are named one by one: there is no list of them"));
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
