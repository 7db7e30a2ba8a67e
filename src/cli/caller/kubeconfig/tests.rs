use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use clap::Parser as _;
use loadtest::pki::Ca;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

#[test]
fn contexts_name_cluster_user_and_the_plugin() {
    let args = parse(&[
        "--cluster=east",
        "--cluster=west",
        "--namespace=shop",
        "--scope=groups",
    ]);
    let addition = addition(&args, "https://gw.test", Some("PEM")).unwrap();
    let mut file = Node::empty_config();
    addition.put_into(&mut file);
    let text = file.render().unwrap();
    for line in [
        "server: https://gw.test/clusters/east",
        "server: https://gw.test/clusters/west",
        "certificate-authority-data: UEVN",
        "namespace: shop",
        "apiVersion: client.authentication.k8s.io/v1",
        "interactiveMode: IfAvailable",
        "- --issuer=https://i.test",
        "- --scope=groups",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(
        text.matches("name: portcullis\n").count(),
        1,
        "one user\n{text}"
    );
    assert_eq!(addition.first_context(), "portcullis-east");
}

#[test]
fn what_is_there_stays_and_a_clash_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("sub/config");
    let first = addition(&parse(&[]), "https://gw.test", None).unwrap();
    let written = first.write(Some(&file), false, true).unwrap();
    assert_eq!(written.context_before, None);
    assert_eq!(mode(&file), 0o600);
    first.write(Some(&file), false, true).unwrap();

    let mine = std::fs::read_to_string(&file).unwrap() + "x-mine: {kept: true}\n";
    std::fs::write(
        &file,
        mine.replace("current-context: portcullis", "current-context: mine"),
    )
    .unwrap();
    chmod(&file, 0o644);
    let other = addition(&parse(&[]), "https://other.test", None).unwrap();
    let before = std::fs::read_to_string(&file).unwrap();
    let error = other
        .write(Some(&file), false, true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("--overwrite") && error.contains("cluster"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);

    let written = other.write(Some(&file), true, true).unwrap();
    assert_eq!(written.context_before.as_deref(), Some("mine"));
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(
        after.contains("other.test") && !after.contains("gw.test"),
        "{after}"
    );
    assert!(after.contains("kept: true"), "{after}");
    assert_eq!(mode(&file), 0o600);
    let third = addition(&parse(&["--name=third"]), "https://third.test", None).unwrap();
    third.write(Some(&file), false, false).unwrap();
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.contains("current-context: portcullis"), "{after}");
    let left: Vec<_> = std::fs::read_dir(file.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "no lock and no draft is left: {left:?}");
}

#[test]
fn a_symbolic_link_stays_one_and_broken_files_are_not_touched() {
    let home = tempfile::tempdir().unwrap();
    let (real, link) = (home.path().join("real"), home.path().join("link"));
    std::fs::write(&real, "").unwrap();
    symlink(&real, &link).unwrap();
    let addition = addition(&parse(&[]), "https://gw.test", None).unwrap();
    addition.write(Some(&link), false, true).unwrap();
    assert!(link.is_symlink());
    assert!(std::fs::read_to_string(&real).unwrap().contains("gw.test"));

    let nowhere = home.path().join("nowhere");
    symlink(home.path().join("gone"), &nowhere).unwrap();
    assert!(addition.write(Some(&nowhere), false, true).is_err());
    for broken in ["clusters: [", "- x", "\u{0}", "a: 1\na: 2"] {
        std::fs::write(&real, broken).unwrap();
        assert!(addition.write(Some(&real), true, true).is_err(), "{broken}");
        assert_eq!(std::fs::read_to_string(&real).unwrap(), broken);
    }
}

#[test]
fn many_that_write_at_once_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config");
    std::thread::scope(|scope| {
        for number in 0..16 {
            let file = &file;
            scope.spawn(move || {
                let args = parse(&[&format!("--name=gateway-{number}")]);
                let addition = addition(&args, "https://gw.test", None).unwrap();
                addition.write(Some(file), false, true).unwrap();
            });
        }
    });
    let config = files::read(&file).unwrap();
    for number in 0..16 {
        let name = format!("gateway-{number}");
        assert!(
            config.named("contexts", "context", &name).is_some(),
            "{name}"
        );
        assert!(config.named("users", "user", &name).is_some(), "{name}");
    }
}

#[test]
fn the_files_of_a_list_are_changed_where_an_entry_stands() {
    let home = tempfile::tempdir().unwrap();
    let paths = ["gone", "one", "two"].map(|name| home.path().join(name));
    std::fs::write(&paths[1], "").unwrap();
    let files = paths.to_vec();
    assert_eq!(
        files::default_file(&files).unwrap(),
        1,
        "the first that is there"
    );
    let none = [home.path().join("a"), home.path().join("b")];
    assert_eq!(
        files::default_file(&none).unwrap(),
        1,
        "the last, if none is"
    );
    assert!(files::default_file(&[]).is_err());
}

#[test]
fn only_addresses_that_keep_a_token_safe_are_written() {
    for good in ["https://gw.test", "https://gw.test/", "https://[::1]:8443"] {
        assert!(base(good).is_ok(), "{good}");
    }
    for bad in [
        "http://gw.test",
        "gw.test",
        "https://u:p@gw.test",
        "https://gw.test/clusters/east",
        "https://gw.test?x",
    ] {
        assert!(base(bad).is_err(), "{bad}");
    }
    for bad in ["", "..", "a/b", "A", "-a", "a%2f", "a b"] {
        let args = parse(&[&format!("--cluster={bad}")]);
        assert!(addition(&args, "https://gw.test", None).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn of_a_file_with_certificates_nothing_else_is_taken() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::new().unwrap();
    let (_, key) = ca.server(&["localhost"]).unwrap();
    let file = home.path().join("both.pem");
    std::fs::write(&file, format!("{key}\n# a note\n{}", ca.pem())).unwrap();
    let taken = trust::authority("https://unused.test", Some(&file), None).await;
    let taken = taken.unwrap().unwrap();
    assert!(
        !taken.contains("PRIVATE") && !taken.contains("note"),
        "{taken}"
    );
    assert_eq!(taken.matches("BEGIN CERTIFICATE").count(), 1);
    std::fs::write(&file, key).unwrap();
    assert!(
        trust::authority("https://unused.test", Some(&file), None)
            .await
            .is_err()
    );
}

fn parse(more: &[&str]) -> Args {
    let usual = [
        "",
        "--server=https://gw.test",
        "--issuer=https://i.test",
        "--client-id=cli",
    ];
    Line::parse_from([&usual[..], more].concat()).args
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
