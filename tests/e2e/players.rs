//! Real sessions in stock asciinema, of distributions (2.x) and the current one (3.x).

use std::path::Path;

use serde_json::json;

use crate::support::process::{Outcome, Process};
use crate::support::world::{Caller, Kubectl, Options, Workshop, World, tool};

/// A session at a terminal, from its prompt to its exit code; the one file of its recording.
fn session(world: &World, version: Kubectl) -> std::path::PathBuf {
    let pod = world.pod();
    let kubectl = tool(version.name()).join("kubectl");
    let line = format!(
        "script -qec '{} exec -it {pod} -- sh' /dev/null",
        kubectl.display()
    );
    let mut shell = world
        .shell(version, Caller::Developer, &line)
        .interactive()
        .start();
    let at_prompt = |text: &str| text.ends_with("# ") || text.ends_with("$ ");
    shell.wait_for("a prompt", at_prompt);
    for (typed, shown) in [
        ("printf '\\033[31mred-%s\\033[m\\n' $((40+2))\n", "red-42"),
        ("echo größer-$((1+1)) '日本' \n", "größer-2 日本"),
        ("printf 'raw-%s-\\377\\n' $((2+1))\n", "raw-3-"),
    ] {
        shell.type_in(typed);
        shell.wait_for(shown, |text| text.contains(shown) && at_prompt(text));
    }
    shell.type_in("exit 6\n");
    shell.wait().expect_code(6);
    let tape = world.next_tape(&mut Vec::new());
    world.parts(&tape).swap_remove(0)
}

/// Runs a player to its end.
fn play(world: &World, line: &str) -> Outcome {
    let shell = world.shell(Kubectl::Current, Caller::Developer, line);
    let played = shell.env("TERM", "xterm-256color").run();
    played.expect_code(0);
    played
}

#[track_caller]
fn shows_the_session(text: &str) {
    for shown in ["red-42", "größer-2 日本", "raw-3-\u{fffd}"] {
        assert!(text.contains(shown), "{shown} is not shown:\n{text}");
    }
}

fn asciinema_3_plays(world: &World, cast: &Path) {
    let asciinema = tool("asciinema/bin/asciinema");
    let (asciinema, cast) = (asciinema.display(), cast.display());
    let played = play(
        world,
        &format!("script -qec '{asciinema} play -s 100 {cast}' /dev/null"),
    );
    shows_the_session(&played.stdout);
    for (format, exit) in [
        ("asciicast-v2", "\"x\", \"6\""),
        ("asciicast-v3", "\"x\", \"6\""),
        ("txt", ""),
    ] {
        let converted = play(
            world,
            &format!("{asciinema} convert --overwrite -f {format} {cast} out && cat out"),
        );
        shows_the_session(&converted.stdout);
        converted.expect(exit);
    }
}

#[test]
fn stock_players_show_real_sessions_of_both_versions() {
    for (format, version) in [
        ("asciicast-v2", Kubectl::Old),
        ("asciicast-v3", Kubectl::Current),
    ] {
        let options = Options {
            recording: json!({"format": format}),
            ..Options::default()
        };
        let world = World::start_with(Workshop::new().into(), &options);
        let cast = session(&world, version);
        asciinema_3_plays(&world, &cast);
        if format == "asciicast-v2" {
            for command in ["cat", "play"] {
                let played = Process::new(world.runtime(), python())
                    .env("PYTHONPATH", tool("asciinema/2"))
                    .env("HOME", world.path("home"))
                    .args(["-m", "asciinema", command])
                    .args([&cast])
                    .run();
                played.expect_code(0);
                shows_the_session(&played.stdout);
            }
        }
    }
}

/// The interpreter of the tools: the machine's own may be a wrapper that needs an environment.
fn python() -> std::path::PathBuf {
    tool("venv/bin/python")
}
