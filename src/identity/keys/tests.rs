use std::sync::LazyLock;

use loadtest::issuer::SigningKeys;
use tokio_util::task::TaskTracker;

use super::*;

static FIRST: LazyLock<KeySet> = LazyLock::new(|| key_set("1"));
static SECOND: LazyLock<KeySet> = LazyLock::new(|| key_set("2"));

const ALGORITHM: SigningAlgorithm = SigningAlgorithm::ES256;

#[tokio::test(start_paused = true)]
async fn a28_without_a_first_fetch_nothing_is_known() {
    let world = World::start(Err("connection refused".to_owned()));
    assert_eq!(
        world.keys.current().err().unwrap(),
        "no fetch is complete yet"
    );
    let missing = world.find("es256-1").await.unwrap_err();
    assert_eq!(
        missing,
        Missing::Unavailable("connection refused".to_owned())
    );
    world.script.answer(Ok((*FIRST).clone()));
    tokio::time::sleep(Duration::from_millis(1001)).await;
    assert_eq!(world.find("es256-1").await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a28_failed_fetches_are_repeated_with_growing_pauses() {
    let world = World::start(Err("down".to_owned()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut fetches = Vec::new();
    for _ in 0..8 {
        fetches.push(world.script.fetches());
        tokio::time::sleep(Duration::from_secs(16)).await;
    }
    // After 0, 1, 3, 7, 15, 31, 63 and 123 s.
    assert_eq!(fetches, [1, 5, 6, 6, 7, 7, 7, 7]);
    assert_eq!(world.keys.fetches(), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn a28_the_last_good_keys_serve_until_they_are_stale() {
    let world = World::start(Ok((*FIRST).clone()));
    assert_eq!(world.find("es256-1").await, Ok(1));
    world.script.answer(Err("500".to_owned()));
    tokio::time::sleep(Duration::from_secs(3599)).await;
    assert_eq!(world.find("es256-1").await, Ok(1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let missing = world.find("es256-1").await.unwrap_err();
    assert_eq!(
        missing,
        Missing::Unavailable("the last good keys are too old; 500".to_owned())
    );
    world.script.answer(Ok((*FIRST).clone()));
    tokio::time::sleep(RETRY_MAX).await;
    assert_eq!(
        world.find("es256-1").await,
        Ok(1),
        "the same keys are the same version"
    );
}

#[tokio::test(start_paused = true)]
async fn a29_a_flood_of_unknown_keys_causes_one_fetch_a_pause() {
    let world = World::start(Ok((*FIRST).clone()));
    assert_eq!(world.find("es256-1").await, Ok(1));
    let before = world.script.fetches();
    for number in 0..10_000 {
        assert_eq!(
            world.find(&format!("forged-{number}")).await,
            Err(Missing::Unknown)
        );
    }
    assert_eq!(world.script.fetches(), before + 1);
    assert_eq!(
        world.find("es256-1").await,
        Ok(1),
        "good tokens are not disturbed"
    );
    tokio::time::sleep(Duration::from_secs(31)).await;
    for number in 0..10_000 {
        assert_eq!(
            world.find(&format!("forged-again-{number}")).await,
            Err(Missing::Unknown)
        );
    }
    assert_eq!(world.script.fetches(), before + 2);
    assert!(world.keys.schedule.lock().unknown.len() <= UNKNOWN_KEY_IDS_MAX);
}

#[tokio::test(start_paused = true)]
async fn a29_a_key_that_was_sought_in_vain_causes_no_second_fetch() {
    let world = World::start(Ok((*FIRST).clone()));
    assert_eq!(world.find("forged").await, Err(Missing::Unknown));
    let before = world.script.fetches();
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(world.find("forged").await, Err(Missing::Unknown));
    assert_eq!(world.script.fetches(), before);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(world.find("forged").await, Err(Missing::Unknown));
    assert_eq!(world.script.fetches(), before + 1, "but not for ever");
}

#[tokio::test(start_paused = true)]
async fn a29_all_callers_with_a_new_key_wait_for_one_fetch() {
    let world = World::start(Ok((*FIRST).clone()));
    assert_eq!(world.find("es256-1").await, Ok(1));
    let before = world.script.fetches();
    world.script.answer(Ok((*SECOND).clone()));
    *world.script.delay.lock() = Duration::from_secs(2);
    let found = futures_util::future::join_all((0..100).map(|_| world.find("es256-2"))).await;
    assert_eq!(found, vec![Ok(2); 100]);
    assert_eq!(world.script.fetches(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a29_good_tokens_do_not_wait_for_a_slow_refetch() {
    let world = World::start(Ok((*FIRST).clone()));
    assert_eq!(world.find("es256-1").await, Ok(1));
    *world.script.delay.lock() = Duration::from_secs(5);
    let start = Instant::now();
    let (forged, good) = tokio::join!(world.find("forged"), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        (world.find("es256-1").await, start.elapsed())
    });
    assert_eq!(forged, Err(Missing::Unknown));
    assert_eq!(good.0, Ok(1));
    assert!(good.1 < Duration::from_millis(10), "{:?}", good.1);
}

#[tokio::test(start_paused = true)]
async fn a30_rotation_is_seen_within_one_fetch() {
    let world = World::start(Ok((*FIRST).clone()));
    assert_eq!(world.find("es256-1").await, Ok(1));
    world.script.answer(Ok((*SECOND).clone()));
    assert_eq!(
        world.find("es256-2").await,
        Ok(2),
        "a new key is sought at once"
    );
    assert_eq!(
        world.find("es256-1").await,
        Err(Missing::Unknown),
        "the removed key went with the same fetch"
    );
}

#[tokio::test(start_paused = true)]
async fn a30_a_removed_or_replaced_key_stops_within_the_refresh_interval() {
    let world = World::start(Ok((*FIRST).clone()));
    assert_eq!(world.find("es256-1").await, Ok(1));
    world.script.answer(Ok(key_set("1")));
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(
        world.find("es256-1").await,
        Ok(2),
        "the same id is another key now"
    );
    world.script.answer(Ok((*SECOND).clone()));
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(world.find("es256-1").await, Err(Missing::Unknown));
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_task_during_a_fetch() {
    let world = World::start(Ok((*FIRST).clone()));
    *world.script.delay.lock() = Duration::from_hours(1);
    world.shutdown.cancel();
    world.tasks.close();
    world.tasks.wait().await;
}

struct World {
    keys: Arc<IssuerKeys>,
    script: Arc<Script>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

struct Script {
    answer: Mutex<Result<KeySet, String>>,
    delay: Mutex<Duration>,
    fetches: AtomicU64,
}

impl World {
    fn start(answer: Result<KeySet, String>) -> Self {
        let script = Arc::new(Script {
            answer: Mutex::new(answer),
            delay: Mutex::new(Duration::ZERO),
            fetches: AtomicU64::new(0),
        });
        let timing = KeyTiming {
            stale_max: Duration::from_hours(1),
            ..KeyTiming::default()
        };
        let asked = Arc::clone(&script);
        let fetch: Fetch = Box::new(move |_| {
            let script = Arc::clone(&asked);
            Box::pin(async move {
                script.fetches.fetch_add(1, Ordering::SeqCst);
                let delay = *script.delay.lock();
                tokio::time::sleep(delay).await;
                script.answer.lock().clone().map(|keys| (keys, Vec::new()))
            })
        });
        let keys = Arc::new(IssuerKeys::new(timing, fetch));
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (task, stop) = (Arc::clone(&keys), shutdown.clone());
        tasks.spawn(async move { task.run("https://issuer.test", stop).await });
        Self {
            keys,
            script,
            tasks,
            shutdown,
        }
    }

    /// The version of the keys that have `key_id`.
    async fn find(&self, key_id: &str) -> Result<u64, Missing> {
        self.keys
            .with(Some(key_id), ALGORITHM)
            .await
            .map(|loaded| loaded.version)
    }
}

impl Script {
    fn answer(&self, answer: Result<KeySet, String>) {
        *self.answer.lock() = answer;
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn key_set(suffix: &str) -> KeySet {
    let keys = SigningKeys::generate(suffix).unwrap().key_set().to_string();
    KeySet::parse(keys.as_bytes(), &[ALGORITHM]).unwrap().0
}
