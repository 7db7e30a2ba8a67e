//! What credentials begin with.
//!
//! The build script makes one automaton of them ([`ALL`], [`in_full`]), so that no gateway begins with a second of
//! work: this file is compiled into it as well, and uses nothing else.

/// Names each, and lists them in this order: where two find the same bytes at once, the first one counts.
macro_rules! lead_ins {
    ($($(#[$about:meta])* $name:ident = $expression:expr;)*) => {
        $($(#[$about])* pub(crate) const $name: &str = $expression;)*

        /// All of them, by the numbers that the automaton has for them.
        pub(crate) const ALL: &[&str] = &[$($name),*];
    };
}

// Regular expressions on bytes, in which words in capital letters stand for the constants below.
lead_ins! {
    PRIVATE_KEY_BEGINS = r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----";
    PRIVATE_KEY_ENDS = r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----";
    /// `postgres://user:password@host`, also with the slashes that PHP escapes.
    URL = r"[A-Za-z0-9+.-]:\\?/\\?/";
    /// The same where the user was a known value; another bracket there is an address of IPv6.
    MASKED_URL = r"[A-Za-z0-9+.-]:\\?/\\?/\[masked:v1:[0-9a-f]+\]:";
    JWT = r"\beyJ";
    AWS_ACCESS_KEY = r"\b(?:AKIA|ASIA)";
    GOOGLE_API_KEY = r"\bAIza";
    GOOGLE_OAUTH_TOKEN = r"\bya29\.";
    AZURE_KEY = r"(?i)(?:AccountKey|SharedAccessKey)=";
    /// Also within JSON, where Go escapes the `&`.
    AZURE_SIGNATURE = r"(?i)(?:[?&]|\\u0026)sig=";
    /// Of a request to AWS, in its header or its URL.
    AWS_SIGNATURE = r"(?i)\bsignature=";
    GITHUB_TOKEN = r"\b(?:gh[pousr]_|github_pat_)";
    GITLAB_TOKEN = r"\bglpat-";
    SLACK_TOKEN = r"\b(?:xox[abeoprs]|xapp)-";
    SLACK_WEBHOOK = r"hooks\.slack\.com/services/";
    STRIPE_KEY = r"\b(?:[rs]k_(?:live|test)|whsec)_";
    /// npm, Hugging Face, `DigitalOcean`, `OpenAI`.
    SERVICE_TOKEN = r"\b(?:npm_|hf_|do[oprs]_v1_|sk-)";
    /// `OpenAI`, Anthropic, `SendGrid`, Vault, `PyPI`.
    DOTTED_SERVICE_TOKEN = r"\b(?:sk-(?:proj|ant)-|SG\.|hv[bsr]\.|pypi-Ag)";
    /// Kubeconfig, docker configuration.
    CLIENT_KEY = r#"client-key-data["'\\]*\s*:"#;
    DOCKER_LOGIN = r#""auth\\*"\s*:\s*\\*""#;
    AUTHORIZATION = r#"(?i)\bauthorization\\*["']?\s*[:=]\s*\\*["']?(?:bearer|basic|token|api-?key|negotiate|ntlm|splunk)[ \t]"#;
    SCHEME = r"(?i)\b(?:bearer|basic)[ \t]";
    /// `password=...`, also where a shell or a writer of properties escapes the sign.
    SET_NAME = r"(?i)(?:NAMES|pass)COLOUR\s*COLOUR\\*=";
    /// `password: ...`, blocks of YAML.
    PAIR_NAME = r"(?i)(?:(?:SURE|[\w-]WORDS)SUFFIX|[\w-]pass|(?-i:pass))COLOUR\s*COLOUR\\*:";
    /// `token: ...`, but also: `invalid token: expected a comma`.
    WORD_OF_PROSE = r"(?i)(?:^|[^\w-])WORDSSUFFIXCOLOUR\s*COLOUR\\*:";
    /// `"token": "..."`
    MEMBER_NAME = r#"(?i)(?:NAMES|pass)COLOUR\\*["'`]COLOUR\s*COLOUR[:=]"#;
    /// `<password>...</password>`.
    ELEMENT_NAME = "(?i)NAMES>";
    /// `PWD=/home/bob` is in every environment, `pwd=secret` in connection strings.
    PWD = r#"(?i)pwdCOLOUR\\*["'`]?COLOUR\s*COLOUR[:=]"#;
    /// `--password ...` within a command line, also as in `/proc/1/cmdline`.
    PASSWORD_FLAG = r"(?i)(?:^|[\s\x00])(?:--?[\w.-]*(?:NAMES|pwd|[_.-]pass)|-pass|requirepass|masterauth)[ \t\x00]";
    /// `mysql -psecret`, and others whose options mean something else elsewhere.
    DATABASE_CLIENT = r"(?:^|[^\w-])(?:(?:mysql|mariadb|mongo)[\w-]*|sshpass)(?:\.exe)?[ \t\x00]";
    REGISTRY_LOGIN = r"(?:^|[^\w-])(?:docker|podman|nerdctl|buildah|skopeo|oras|crane|registry)[ \t\x00]+(?:auth[ \t\x00]+)?login[ \t\x00]";
    REDIS_CLIENT = r"(?:^|[^\w-])redis-cli[ \t\x00]";
    LDAP_CLIENT = r"(?:^|[^\w-])ldap(?:search|add|modify|delete|passwd|whoami|compare|modrdn|exop)[ \t\x00]";
    /// `curl -u user:password`.
    USER_OPTION_BARE = r"(?:^|[\s\x00])USER";
    USER_OPTION_DOUBLE_QUOTED = r#"(?:^|[\s\x00])USER""#;
    USER_OPTION_SINGLE_QUOTED = r"(?:^|[\s\x00])USER'";
}

/// How names end of which the value is a credential, whatever it looks like.
const NAMES: &str = "(?:SURE|WORDS)SUFFIX";

/// Those that mean nothing else. `pwd` has a lead-in of its own, and the colour is that of `grep --color pass`.
const SURE: &str = r"(?:passCOLOUR(?:words?|wd|phrase)|creds|[_-]pat|(?:master|require|redis|npm)[_-]?(?:auth|pass)|(?:api|access|private|secret|account|signing|encryption|master|shared|hmac)[_-]?key)";

/// Those that are words of prose as well, if nothing stands before them.
const WORDS: &str = "(?:secret|token|credentials?)";

/// What may follow, such as in `DB_PASSWORD_PRIMARY`.
const SUFFIX: &str = "(?:[_-]?(?:primary|base|value|[0-9]))?";

/// How a terminal is told to change its colours (ECMA-48, SGR), or to erase what is left of the line (EL),
/// which `grep` does: between a name and its value.
const COLOUR: &str = r"(?:\x1b\[[0-9;]*[mK])*";

/// Of curl: `-u bob:`, `-ubob:`, `-sSu bob:`; `-U` and `--proxy-user` are those of a proxy.
const USER: &str =
    r"(?:-u[ \t=\x00]*|-[A-Za-z0-9#]{1,4}u[ \t\x00]+|(?:-U|--(?:proxy-)?user)[ \t=\x00]+)";

/// Bytes the automaton may have: it has about three quarters of them.
pub(crate) const AUTOMATON_BYTES_MAX: usize = 4 << 20;

/// A lead-in with what the words in capital letters stand for.
pub(crate) fn in_full(lead_in: &str) -> String {
    lead_in
        .replace("NAMES", NAMES)
        .replace("SURE", SURE)
        .replace("WORDS", WORDS)
        .replace("SUFFIX", SUFFIX)
        .replace("COLOUR", COLOUR)
        .replace("USER", USER)
}
