//! Much at once: many objects, a large one, and what that takes.

use super::*;

#[test]
fn ten_thousand_objects_arrive_in_one_conversation() {
    const MANY: usize = 10_000;
    let mut scene = Scene::new();
    let objects: Vec<Object> = (0..MANY).map(|_| scene.object()).collect();
    objects.iter().for_each(|object| write_data(&scene.from, object, object.name.as_bytes()));
    let (synced, peak) = push_apart(&scene);
    assert_eq!(synced["candidates"], json!(MANY));
    assert!(peak < PEAK, "{peak} kB");
    let again = scene.push().unwrap();
    assert_eq!((again.available, again.wanted), (MANY, 0));
    // The auditor would take minutes; it is asked elsewhere.
    objects.iter().step_by(1000).for_each(|object| scene.assert_same(object));
}

#[test]
fn a_gigabyte_arrives_and_takes_no_memory() {
    let mut scene = Scene::new();
    let object = scene.object();
    write_zeros(&scene.from, &object, 1 << 30);
    let (synced, peak) = push_apart(&scene);
    assert_eq!(synced["candidates"], json!(1));
    assert!(peak < PEAK, "{peak} kB");
    let (from, to) = (scene.from.clone(), scene.to.clone());
    assert_eq!(scene.metadata(&to, &object), scene.metadata(&from, &object));
    scene.assert_audited();
}

/// What a process that pushes may take, in kB.
const PEAK: u64 = 20 * 1024;

/// Pushes in a process of its own; what it came to, and how many kB the process took.
fn push_apart(scene: &Scene) -> (Value, u64) {
    let test = concat!(module_path!(), "::push_for_another_process");
    let test = test.split_once("::").expect("a crate").1;
    let push = json!({
        "devices": scene.from.path.parent(), "device": scene.from.name, "policy": scene.policy,
        "address": scene.to.address, "to": scene.to.name,
    });
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new(program);
    command.args(["--ignored", "--exact", "--nocapture", test]).env("SSYNC_PUSH", push.to_string());
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = text.lines().find_map(|line| line.strip_prefix("PUSHED "));
    let errors = String::from_utf8_lossy(&output.stderr);
    let answer: Value = serde_json::from_str(answer.unwrap_or_else(|| panic!("{text}\n{errors}"))).expect("JSON");
    let peak = answer["peak"].as_u64().expect("a number");
    (answer, peak)
}

#[test]
#[ignore = "other tests run it in a process of its own, to see what that takes"]
fn push_for_another_process() {
    // Whoever asks for all ignored tests has nothing to push.
    let Ok(push) = std::env::var("SSYNC_PUSH") else { return };
    let push: Value = serde_json::from_str(&push).expect("JSON");
    let text = |key: &str| push[key].as_str().expect("a text");
    let number = |key: &str| u32::try_from(push[key].as_u64().expect("a number")).expect("a small one");
    let devices = Path::new(text("devices"));
    let policy = PolicyIndex::new(number("policy"));
    let dir = PartitionDir::new(devices, text("device"), policy, Partition::new(PARTITION));
    let address = text("address").parse().expect("an address");
    let (name, path) = (text("to").to_owned(), devices.join(text("to")));
    let to = device(&Disk { id: 1, node: 1, region: 1, name, path, address });
    let suffixes = suffixes_of(&dir);
    let push = SsyncPush { dir: &dir, drive: None, suffixes: &suffixes, to: &to, only: None, with_marks: true };
    let synced = sender().sync(&push, &()).expect("the receiver is a good one");
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).expect("a peak");
    let peak: u64 = peak.parse().expect("a number");
    println!("\nPUSHED {}", json!({"candidates": synced.candidates.len(), "peak": peak}));
}
