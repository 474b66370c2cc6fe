use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
};

use super::*;

/// As the kernel would have noted it; who is not followed has done nothing.
#[derive(Default)]
struct Said {
    executed: HashMap<u32, Timestamp>,
    forked: HashMap<u32, Timestamp>,
    lives: HashMap<u32, Life>,
}

impl Lives for Said {
    fn executed_at(&self, pid: u32) -> Option<Timestamp> {
        self.executed.get(&pid).copied()
    }

    fn forked_at(&self, pid: u32) -> Option<Timestamp> {
        self.forked.get(&pid).copied()
    }

    fn follow(&mut self, pid: u32) {
        self.lives.insert(pid, Life::default());
    }

    fn noted(&self, pid: u32) -> Option<Life> {
        self.lives.get(&pid).copied()
    }
}

/// A shell that has made a copy of itself, and maybe has ended; both go on until a line comes.
struct Shell {
    process: Child,
    input: ChildStdin,
    copy: u32,
}

impl Shell {
    /// The shell and its copy read, which takes no program of their own.
    fn with_child() -> Self {
        Self::start("(read line) <&3 & echo $!; read line; wait")
    }

    fn with_orphan() -> Self {
        let mut shell = Self::start("(read line) <&3 & echo $!; exit");
        shell.process.wait().expect("it ends");
        shell
    }

    fn start(script: &str) -> Self {
        let mut shell = Command::new("sh");
        // Of what is started in the background the input is closed.
        shell.args(["-c", &format!("exec 3<&0; {script}")]);
        let mut process = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let input = process.stdin.take().expect("piped");
        let mut said = String::new();
        let out = process.stdout.as_mut().expect("piped");
        BufReader::new(out).read_line(&mut said).expect("a line");
        Self { process, input, copy: said.trim().parse().expect("a number") }
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn end(mut self) {
        drop(self.input);
        self.process.wait().expect("it ends");
        // What it made ends too: nobody holds its output any more.
        let mut rest = String::new();
        let out = self.process.stdout.as_mut().expect("piped");
        BufReader::new(out).read_line(&mut rest).expect("its end");
    }
}

/// Beginnings are known to the clock tick.
fn earlier(at: Timestamp) -> Timestamp {
    Timestamp(at.0 - 1_000_000_000)
}

fn descent(openers: &mut Openers, lives: &Said, pid: u32, since: Timestamp) -> Descent {
    openers.descent(pid, &Stat::read(pid).expect("it runs"), lives, since)
}

const NOBODY: Descent = Descent::From(vec![]);

/// Above the largest number that Linux assigns: it has ended.
const GONE: u32 = 1 << 23;

/// One of that number.
fn gone(parent: u32, began: Timestamp, executable: Option<Executable>) -> Opener {
    let key = ProcessKey { pid: GONE, start_ticks: 0 };
    Opener { key, parent, began, opened: began, executable, is_in_place: false }
}

#[test]
fn what_is_forked_goes_on_with_what_its_parents_had() {
    let before = earlier(monotonic_now());
    let (parent, gone) = (Shell::with_child(), Shell::with_orphan());
    let (child, orphan) = (parent.copy, gone.copy);
    let mut lives = Said::default();
    let mut openers = Openers::default();
    assert_eq!(descent(&mut openers, &lives, child, before), NOBODY, "nobody opens connections");
    assert_eq!(descent(&mut openers, &lives, orphan, before), NOBODY, "nobody opened any");

    let shell = parent.pid();
    let stat = Stat::read(shell).expect("it runs");
    openers.insert(shell, &stat, &mut lives, monotonic_now());
    lives.executed.insert(shell, stat.began_at());
    assert_eq!(descent(&mut openers, &lives, child, before), Descent::From(vec![shell]));
    assert_eq!(descent(&mut openers, &lives, orphan, before), Descent::Unknown, "may be its child");
    lives.executed.insert(orphan, monotonic_now());
    assert_eq!(descent(&mut openers, &lives, orphan, before), NOBODY, "it is another program now");
    lives.executed.remove(&orphan);
    assert_eq!(
        descent(&mut openers, &lives, orphan, monotonic_now()),
        NOBODY,
        "older than the watch"
    );

    // The end of its main thread alone is none.
    let at_end = Life { forked: None, ended: Some(earlier(before)) };
    lives.lives.insert(shell, at_end);
    openers.forget_ended(&lives);
    assert!(openers.known.contains_key(&shell), "it runs");
    assert_eq!(descent(&mut openers, &lives, orphan, before), Descent::Unknown, "others go on");
    parent.end();

    // One that had ended by then has made nobody.
    assert_eq!(descent(&mut openers, &lives, orphan, before), NOBODY);
    openers.forget_ended(&lives);
    assert!(openers.known.is_empty());
    assert_eq!(descent(&mut openers, &lives, orphan, before), NOBODY, "forgotten");
    openers.insert(shell, &stat, &mut lives, monotonic_now());
    assert!(openers.known.is_empty(), "it has ended");
    assert_eq!(descent(&mut openers, &lives, orphan, before), Descent::Unknown, "it ran then");
    openers.clear(Timestamp(0));
    assert_eq!(descent(&mut openers, &lives, orphan, before), NOBODY);
    openers.clear(monotonic_now());
    assert_eq!(
        descent(&mut openers, &lives, orphan, before),
        Descent::Unknown,
        "all are forgotten"
    );
    gone.end();
}

#[test]
fn a_living_parent_is_believed_where_nobody_else_can_have_made_its_child() {
    let before = earlier(monotonic_now());
    let shell = Shell::start("sleep 0.15; (read line) <&3 & echo $!; read line; wait");
    let (pid, child) = (shell.pid(), shell.copy);
    let began = Stat::read(child).expect("it runs").began_at();
    let executed = Stat::read(pid).expect("it runs").began_at();
    let after = later(began, Duration::from_secs(1));
    let executable = executable(child);
    let other = |opened| Opener { opened, ..gone(0, before, executable) };
    let life = |forked, ended| Life { forked, ended };
    let cases = [
        ("it ended before", other(before), life(Some(before), Some(before)), true),
        ("it made nobody", other(before), life(None, Some(after)), true),
        ("it made others", other(before), life(Some(before), Some(after)), false),
        ("it had made others before", other(began), life(Some(before), Some(after)), true),
        (
            "it runs other files",
            Opener { executable: Some((0, 0, 0)), ..other(before) },
            life(Some(before), Some(after)),
            true,
        ),
    ];
    for (case, other, life, is_whole) in cases {
        for is_forgotten in [false, true] {
            let mut lives = Said::default();
            lives.executed.insert(pid, executed);
            lives.lives.insert(GONE, life);
            let mut openers = Openers::default();
            openers.known.insert(GONE, other);
            if is_forgotten {
                openers.forget_ended(&lives);
                assert!(openers.known.is_empty(), "{case}");
            }
            let got = descent(&mut openers, &lives, child, before);
            let want = if is_whole { NOBODY } else { Descent::Unknown };
            assert_eq!(got, want, "{case}, forgotten: {is_forgotten}");
        }
    }

    // Of one that has executed the same again, its child may be of what it was before.
    let ours = std::process::id();
    let start_ticks = Stat::read(ours).expect("it runs").start_ticks;
    let running = Opener { key: ProcessKey { pid: ours, start_ticks }, ..other(before) };
    let cases = [
        (executed, Some(before), 0, NOBODY),
        (after, Some(before), 0, Descent::Unknown),
        (after, Some(before), pid, NOBODY),
        (after, None, 0, NOBODY),
    ];
    for (executed, forked, parent, want) in cases {
        let mut lives = Said::default();
        lives.executed.insert(pid, executed);
        lives.lives.insert(ours, life(forked, None));
        let mut openers = Openers::default();
        openers.known.insert(ours, Opener { parent, ..running });
        let got = descent(&mut openers, &lives, child, before);
        assert_eq!(got, want, "executed {executed:?}, its child began {began:?}, {forked:?}");
    }
    shell.end();
}

#[test]
fn what_is_made_just_after_another_has_ended_is_in_its_place() {
    let shell = Shell::with_child();
    let (pid, child) = (shell.pid(), shell.copy);
    let began = Stat::read(child).expect("it runs").began_at();
    let before = |seconds: u64| Timestamp(began.0 - seconds * 1_000_000_000);
    let executable = executable(child);
    let in_place = Descent::InPlaceOf(GONE);
    // What is noted has happened by now.
    std::thread::sleep(Duration::from_millis(110));
    let after = |milliseconds| later(began, Duration::from_millis(milliseconds));
    let cases = [
        ("at once", pid, before(1), None, None, in_place.clone()),
        ("at once, as exactly as `/proc` tells", pid, after(5), None, None, in_place.clone()),
        ("at once, as the kernel saw it", pid, after(5), Some(after(6)), None, in_place),
        ("it ended when its parent had made another", pid, after(7), Some(after(6)), None, NOBODY),
        ("it ended after that", pid, after(50), None, None, NOBODY),
        ("long after", pid, before(3), None, None, NOBODY),
        ("another parent's", pid + 1, before(1), None, None, NOBODY),
        ("it is another program", pid, before(1), None, Some((child, after(100))), NOBODY),
        ("its parent runs its program anew", pid, before(1), None, Some((pid, before(2))), NOBODY),
    ];
    for (case, parent, ended, forked, executed, want) in cases {
        for is_forgotten in [false, true] {
            let mut lives = Said::default();
            lives.lives.insert(GONE, Life { forked: None, ended: Some(ended) });
            lives.forked.extend(forked.map(|at| (pid, at)));
            lives.executed.extend(executed);
            let mut openers = Openers::default();
            openers.known.insert(GONE, gone(parent, before(9), executable));
            if is_forgotten {
                openers.forget_ended(&lives);
                assert!(openers.known.is_empty(), "{case}");
            }
            let got = descent(&mut openers, &lives, child, before(9));
            assert_eq!(got, want, "{case}, forgotten: {is_forgotten}");
        }
    }
    shell.end();
}

#[test]
fn what_ends_after_others_were_made_has_nobody_in_its_place() {
    let shell = Shell::with_child();
    let (parent, child) = (shell.pid(), shell.copy);
    let child_began = Stat::read(child).expect("it runs").began_at();
    let before = |seconds: u64| Timestamp(child_began.0 - seconds * 1_000_000_000);
    let executable = executable(child);
    let ours = std::process::id();
    let key = ProcessKey { pid: ours, start_ticks: Stat::read(ours).expect("it runs").start_ticks };
    let other = |began| gone(parent, began, executable);
    for (case, began, is_in_place, want) in [
        ("made together", before(9), false, Descent::InPlaceOf(GONE)),
        ("made since, as at a reload", before(5), false, NOBODY),
        ("in place of yet another", before(5), true, Descent::InPlaceOf(GONE)),
    ] {
        let mut lives = Said::default();
        lives.lives.insert(GONE, Life { forked: None, ended: Some(before(1)) });
        lives.lives.insert(ours, Life::default());
        let mut openers = Openers::default();
        openers.known.insert(GONE, other(before(9)));
        openers.known.insert(ours, Opener { key, is_in_place, ..other(began) });
        assert_eq!(descent(&mut openers, &lives, child, before(9)), want, "{case}");
    }
    shell.end();
}

#[test]
fn nobody_is_made_by_its_own_children() {
    let shell = Shell::with_orphan();
    let orphan = shell.copy;
    let began = Stat::read(orphan).expect("it runs").began_at();
    let (before, after) = (earlier(began), later(began, Duration::from_secs(1)));
    for (parent, want) in [(0, Descent::Unknown), (orphan, NOBODY)] {
        let mut lives = Said::default();
        lives.lives.insert(GONE, Life { forked: Some(before), ended: Some(after) });
        let mut openers = Openers::default();
        openers.known.insert(GONE, gone(parent, before, executable(orphan)));
        openers.forget_ended(&lives);
        assert!(openers.known.is_empty());
        assert_eq!(descent(&mut openers, &lives, orphan, before), want, "a child of {parent}");
    }
    shell.end();
}
