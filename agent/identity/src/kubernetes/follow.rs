//! One kind of object, listed and watched for as long as the agent runs.

use std::{collections::HashSet, fmt, time::Duration};

use futures_util::{StreamExt as _, pin_mut};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::board::Board;
use hopsight_posture::workload::services::ObjectName;

/// Objects per page of a listing.
const PAGE: u32 = 250;
/// Pause between questions for a kind of object that the server does not have.
const ABSENT_FOR: Duration = Duration::from_secs(30);

/// A change of an object that is kept by its name.
pub(super) enum Named<K> {
    Set(ObjectName, K),
    Remove(ObjectName),
    /// The names of a listing that is complete; what is not among them is gone.
    Listed(HashSet<ObjectName>),
    Nothing,
}

pub(super) fn named<K>(
    event: Event<K>,
    listed: &mut HashSet<ObjectName>,
    name: impl Fn(&K) -> ObjectName,
) -> Named<K> {
    match event {
        Event::Init => {
            listed.clear();
            Named::Nothing
        }
        Event::InitApply(object) => {
            let name = name(&object);
            listed.insert(name.clone());
            Named::Set(name, object)
        }
        Event::InitDone => Named::Listed(std::mem::take(listed)),
        Event::Apply(object) => Named::Set(name(&object), object),
        Event::Delete(object) => Named::Remove(name(&object)),
    }
}

/// Lists and watches one kind of object forever. What was listed stays known while the API server
/// does not answer.
pub(super) async fn follow<K>(
    what: &'static str,
    api: Api<K>,
    config: watcher::Config,
    board: &Board,
    mut take: impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    board.starts(what);
    follow_until(what, api, config, board, |_| false, &mut take).await;
}

/// The same for a kind that the server may not have: of its versions the first that is served is
/// followed for as long as it is. Of a kind that is no longer there are no objects.
pub(super) async fn follow_served<K>(
    what: &'static str,
    versions: Vec<Api<K>>,
    board: &Board,
    mut take: impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    board.starts(what);
    loop {
        for api in &versions {
            let config = watcher::Config::default();
            follow_until(what, api.clone(), config, board, is_absent, &mut take).await;
        }
        take(Event::Init);
        take(Event::InitDone);
        board.forget(what);
        tokio::time::sleep(ABSENT_FOR).await;
    }
}

async fn follow_until<K>(
    what: &'static str,
    api: Api<K>,
    config: watcher::Config,
    board: &Board,
    is_over: fn(&watcher::Error) -> bool,
    take: &mut impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    // Without back-off an error would be asked for again at once, and forever.
    let events = watcher(api, config.page_size(PAGE)).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let shows_it_works =
                    matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_));
                take(event);
                if shows_it_works {
                    board.works(what);
                }
            }
            // What was watched is too old for the server (410 Gone): listing again is routine.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                tracing::debug!(what, "listing again: {status}");
            }
            Err(error) if is_over(&error) => return,
            Err(error) => board.fails(what, words(&error)),
        }
    }
}

/// Whether the server does not know this kind of object.
fn is_absent(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) =
        error
    else {
        return false;
    };
    matches!(cause, kube::Error::Api(status) if status.code == 404)
}

/// An error with its causes, on one line.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text.replace(['\n', '\r'], " ")
}
