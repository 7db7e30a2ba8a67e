//! What a person at a terminal does: resize it, press Ctrl-C. What happens when they leave it alone is in `alone`.

use std::time::Duration;

use crate::support::process::{Process, Running};
use crate::support::world::{Caller, KUBECTLS, Kubectl, World, tool};

/// `kubectl exec -it … -- sh` in a terminal of its own, at its first prompt; the terminal's name is in the
/// file `terminal`.
pub(crate) fn shell_in(world: &World, version: Kubectl, pod: &str, terminal: &str) -> Running {
    let kubectl = tool(version.name()).join("kubectl");
    let line = format!(
        "script -qec 'tty > {terminal}; exec {} exec -it {pod} -- sh' /dev/null",
        kubectl.display()
    );
    let mut shell = world
        .shell(version, Caller::Developer, &line)
        .interactive()
        .start();
    shell.wait_for("a prompt", at_prompt);
    shell
}

fn at_prompt(text: &str) -> bool {
    text.ends_with("# ") || text.ends_with("$ ")
}

#[test]
fn the_size_of_the_terminal_follows() {
    let world = World::start();
    let pod = world.pod();
    let mut seen = Vec::new();
    for version in KUBECTLS {
        let mut shell = shell_in(&world, version, &pod, "terminal");
        let terminal = world.read("terminal");
        for (rows, columns) in [("43", "132"), ("30", "99")] {
            Process::new(world.runtime(), "stty")
                .args(["-F", terminal.trim(), "rows", rows, "cols", columns])
                .run()
                .expect_code(0);
            let size = format!("\n{rows} {columns}\r");
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            // The news of it and the question travel on streams of their own.
            while !shell.stdout().contains(&size) {
                assert!(tokio::time::Instant::now() < deadline, "{}", shell.stdout());
                let asked = shell.stdout().len();
                shell.type_in("stty size\n");
                shell.wait_for("an answer", |text| {
                    text.len() > asked + 10 && at_prompt(text)
                });
            }
        }
        shell.type_in("exit\n");
        shell.wait().expect_code(0);
        let tape = world.next_tape(&mut seen);
        let sizes: Vec<String> = world
            .events(&tape)
            .into_iter()
            .filter(|event| event.code == "r")
            .map(|event| event.data)
            .collect();
        // `stty` sets rows and columns one after the other, so there may be sizes in between.
        assert!(sizes.contains(&"132x43".to_owned()), "{sizes:?}");
        assert_eq!(sizes.last().unwrap(), "99x30", "{sizes:?}");
    }
}

#[test]
fn control_c_ends_the_command_and_not_the_session() {
    let world = World::start();
    let pod = world.pod();
    for version in KUBECTLS {
        let mut shell = shell_in(&world, version, &pod, "terminal");
        shell.type_in("echo begun-$((40+2)); sleep 1000; echo not-interrupted\n");
        shell.wait_for("the command's beginning", |text| text.contains("begun-42"));
        shell.type_in("\x03");
        shell.wait_for("the prompt", |text| text.contains("^C") && at_prompt(text));
        shell.type_in("echo alive-$((40+3)) $?\n");
        let said = shell.wait_for("the next command", |text| text.contains("alive-43 130"));
        assert!(!said.contains("\nnot-interrupted"), "{said}");
        shell.type_in("exit 5\n");
        shell.wait().expect_code(5);
    }
}
