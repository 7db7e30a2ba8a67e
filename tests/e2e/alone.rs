//! A terminal that is left alone. It waits for three minutes, so it has a name that makes it begin first: the others
//! run meanwhile.

use std::time::Duration;

use crate::support::process::Running;
use crate::support::world::{KUBECTLS, World};
use crate::terminal::shell_in;

#[test]
fn a_terminal_left_alone_for_three_minutes_goes_on() {
    let world = World::start();
    let pod = world.pod();
    let mut shells = KUBECTLS.map(|version| shell_in(&world, version, &pod, version.name()));
    let since = tokio::time::Instant::now();
    let said = shells.each_ref().map(Running::stdout);
    for shell in &mut shells {
        shell.wait_longer(Duration::from_mins(4), "three minutes", |_| {
            since.elapsed() >= Duration::from_mins(3)
        });
    }
    for (shell, before) in shells.iter_mut().zip(&said) {
        assert_eq!(
            shell.stdout(),
            *before,
            "something was said in the meantime"
        );
        shell.type_in("echo still-$((40+2))\n");
        shell.wait_for("an answer", |text| text.contains("still-42"));
        shell.type_in("exit 4\n");
    }
    for shell in shells {
        shell.wait().expect_code(4);
    }
}
