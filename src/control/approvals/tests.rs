//! What a call asks for; the answers are tried end to end.

use super::*;

fn called(method: &Method, target: &str) -> Result<Call, u16> {
    parse(method, &target.parse().unwrap()).map_err(|refusal| refusal.code().as_u16())
}

#[test]
fn calls_are_what_the_documentation_says_and_nothing_else() {
    let id = || "k3mzp4qa7x".to_owned();
    let one = "/v1/approvals/k3mzp4qa7x";
    let (get, post) = (&Method::GET, &Method::POST);
    for (method, target, expected) in [
        (
            get,
            "/v1/approvals".to_owned(),
            Ok(Call::List {
                open: true,
                limit: limits::SESSIONS_LISTED_DEFAULT,
            }),
        ),
        (
            get,
            "/v1/approvals?open=false&limit=3".to_owned(),
            Ok(Call::List {
                open: false,
                limit: 3,
            }),
        ),
        (get, "/v1/approvals/watch".to_owned(), Ok(Call::Watch)),
        (get, one.to_owned(), Ok(Call::Show(id()))),
        (post, format!("{one}/approve"), Ok(Call::Approve(id()))),
        (post, format!("{one}/deny"), Ok(Call::Deny(id()))),
        (post, format!("{one}/withdraw"), Ok(Call::Withdraw(id()))),
        // A link that somebody opens approves nothing.
        (get, format!("{one}/approve"), Err(405)),
        (get, format!("{one}/approve?reason=x"), Err(405)),
        (post, format!("{one}/approve?requests=1"), Err(400)),
        (post, one.to_owned(), Err(405)),
        (get, "/v1/approvals?stat=open".to_owned(), Err(400)),
        (get, "/v1/approvals?limit=0".to_owned(), Err(400)),
        (get, "/v1/approvals/..%2f..".to_owned(), Err(404)),
        (get, "/v1/approvals/".to_owned(), Err(404)),
        (get, format!("{one}/approve/x"), Err(404)),
        (get, "/v1/approvalsx".to_owned(), Err(404)),
    ] {
        assert_eq!(called(method, &target), expected, "{method} {target}");
    }
}
