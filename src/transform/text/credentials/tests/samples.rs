//! Texts with credentials in them, and texts without.

type Found = &'static [(&'static str, &'static [&'static str])];

/// By pattern: texts and what is hidden in them, and texts that only look alike.
pub(in crate::transform::text) const SAMPLES: &[(&str, Found, &[&str])] = &[
    (
        "credentials.private-key",
        &[
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
                &["MIIE\n-----END RSA PRIVATE KEY-----"],
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIE", &["MIIE"]),
            (
                r#"{"key":"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n","x":1}"#,
                &[r"\nMHcC\n-----END EC PRIVATE KEY-----"],
            ),
            (
                "12:00 a -----BEGIN PGP PRIVATE KEY BLOCK-----\n12:00 a lQOY\n12:00 a -----END PGP PRIVATE KEY BLOCK-----\n12:00 b",
                &["12:00 a lQOY\n12:00 a -----END PGP PRIVATE KEY BLOCK-----"],
            ),
            (
                "-----BEGIN PRIVATE KEY-----\n$ a\n$ b\n$ c\n$ d\n$ e\n$ f\n$ g\n$ h\n$ i\n",
                &["$ a\n$ b\n$ c\n$ d\n$ e\n$ f\n$ g\n"],
            ),
        ],
        &[
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
            "no -----END PRIVATE KEY----- without a beginning",
        ],
    ),
    (
        "credentials.url-password",
        &[
            ("url: postgres://bob:s3cr3t@db:5432/x", &["s3cr3t"]),
            ("redis://:s3cr3t@cache", &["s3cr3t"]),
            ("https://bob:p@ss@example.com/x", &["p@ss"]),
            ("amqp://bob:12345@mq", &["12345"]),
            // The user was a known value.
            ("amqp://[masked:v1:3f9a]:12345@mq", &["12345"]),
            (r"postgres:\/\/bob:s3cr3t@db\/x", &["s3cr3t"]),
            (
                "parse \"postgres://app:Xk/S3cr3t@db:5432/x\": invalid port",
                &["Xk/S3cr3t"],
            ),
            ("postgres://bob:${PW:-s3cr3t}@db", &["${PW:-s3cr3t}"]),
        ],
        &[
            "http://localhost:8080/mail/bob@example.com",
            r"http:\/\/localhost:8080\/mail\/bob@example.com",
            "postgres://bob:${PASSWORD}@db",
            "http://[::1]:8080/metrics@1, http://[fe80::1]:8080 a@b",
            "https://example.com:8443/path?x=1",
            "http://localhost:8080 bob@example.com",
            "listening on tcp://[::1]:8080, mail root@localhost",
            "postgres://bob:$(PASSWORD)@db, https://bob:xxxxx@example.com",
            "image: docker://registry:5000/app@sha256:0123",
        ],
    ),
    (
        "credentials.jwt",
        &[
            (
                "x eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl y",
                &["eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"],
            ),
            (
                "cut eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IifQ",
                &["eyJzdWIiOiJib2IifQ"],
            ),
        ],
        &[
            "eyJhbGciOiJSUzI1NiJ9",
            "keyJournalEntries.forEach(x)",
            "eyJx.y.z",
        ],
    ),
    (
        "credentials.aws-access-key",
        &[
            ("id AKIAIOSFODNN7EXAMPLE.", &["IOSFODNN7EXAMPLE"]),
            ("ASIAIOSFODNN7EXAMPLE", &["IOSFODNN7EXAMPLE"]),
        ],
        &[
            "AKIAIOSFODNN7EXAMPLES3",
            "ASIA-PACIFIC",
            "AKIAIOSFODNN7EXAMPLe",
        ],
    ),
    (
        "credentials.google-api-key",
        &[
            (
                "key AIzaSyA0123456789-abcdefghijklmnopqrst_u",
                &["SyA0123456789-abcdefghijklmnopqrst_u"],
            ),
            (
                "?key=AIzaSyA0123456789-abcdefghijklmnopqrst_u&x",
                &["SyA0123456789-abcdefghijklmnopqrst_u"],
            ),
        ],
        &["AIzawa", "xAIzaSyA0123456789-abcdefghijklmnopqrst_u"],
    ),
    (
        "credentials.google-oauth-token",
        &[
            ("ya29.a0AfH6SMBx0123456789x ", &["a0AfH6SMBx0123456789x"]),
            ("'ya29.a0AfH6SMBx0123456789-_'", &["a0AfH6SMBx0123456789-_"]),
        ],
        &["ya29.com", "maya29.a0AfH6SMBx0123456789x"],
    ),
    (
        "credentials.azure-key",
        &[
            (
                "DefaultEndpointsProtocol=https;AccountKey=AbCdEfGhIjKlMnOpQrSt0123==;X=y",
                &["AbCdEfGhIjKlMnOpQrSt0123=="],
            ),
            (
                "Endpoint=sb://x/;SharedAccessKey=AbCdEfGhIjKlMnOpQrSt0123=",
                &["AbCdEfGhIjKlMnOpQrSt0123="],
            ),
        ],
        &[
            "AccountKey=",
            "SharedAccessKeyName=RootManageSharedAccessKey;",
        ],
    ),
    (
        "credentials.azure-signature",
        &[
            (
                "GET /c/b?sv=2022&sig=abcdefghijklmnop%2B0%3D HTTP",
                &["abcdefghijklmnop%2B0%3D"],
            ),
            (
                r#"{"u":"https://x/b?sv=1\u0026sig=abcdefghijklmnop0\u0026se=1"}"#,
                &["abcdefghijklmnop0"],
            ),
        ],
        &["?sig=short", "design=abcdefghijklmnopqrst"],
    ),
    (
        "credentials.aws-signature",
        &[
            (
                "Authorization: AWS4-HMAC-SHA256 SignedHeaders=host, Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024",
                &["fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"],
            ),
            (
                "https://b.s3.amazonaws.com/k?X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024&x=1",
                &["fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"],
            ),
        ],
        &["signature=verified", "Signature=fe5f80f77d5fa3be, keyId=1"],
    ),
    (
        "credentials.github-token",
        &[
            (
                "ghp_0123456789abcdefghijABCDEFGHIJ",
                &["0123456789abcdefghijABCDEFGHIJ"],
            ),
            (
                "remote github_pat_11ABCDEFG0123456789_abcdef, ok",
                &["11ABCDEFG0123456789_abcdef"],
            ),
        ],
        &["ghp_short", "graph_0123456789abcdefghijABCDEFGHIJ"],
    ),
    (
        "credentials.gitlab-token",
        &[
            ("glpat-0123456789abcdefghij", &["0123456789abcdefghij"]),
            (
                "'glpat-ab_cd-0123456789.01.efgh'",
                &["ab_cd-0123456789.01.efgh"],
            ),
        ],
        &["glpat-short", "xglpat-0123456789abcdefghij"],
    ),
    (
        "credentials.slack-token",
        &[
            ("xoxb-1234567890-abcdef", &["1234567890-abcdef"]),
            ("(xapp-1-A012345678)", &["1-A012345678"]),
        ],
        &["xoxb-1234", "xoxx-1234567890-abcdef"],
    ),
    (
        "credentials.slack-webhook",
        &[
            ("https://hooks.slack.com/services/T0/B0/xyz", &["T0/B0/xyz"]),
            ("curl hooks.slack.com/services/T0/B0/x?y", &["T0/B0/x"]),
        ],
        &[
            "https://hooks.slack.com/workflows",
            "hooks.slack.com/services/ is down",
        ],
    ),
    (
        "credentials.stripe-key",
        &[
            ("sk_live_0123456789abcdef", &["0123456789abcdef"]),
            ("rk_test_0123456789 ok", &["0123456789"]),
        ],
        &["sk_live_short", "task_live_0123456789abcdef"],
    ),
    (
        "credentials.service-token",
        &[
            (
                "npm_abcdefghijklmnopqrstuvwxyz0123456789",
                &["abcdefghijklmnopqrstuvwxyz0123456789"],
            ),
            (
                "x hf_abcdefghijklmnopqrstuvwxyzabcdefgh y",
                &["abcdefghijklmnopqrstuvwxyzabcdefgh"],
            ),
            (
                "dop_v1_0123456789abcdef0123456789abcdef",
                &["0123456789abcdef0123456789abcdef"],
            ),
            ("sk-ant-api03-abcdefghijklmnop", &["api03-abcdefghijklmnop"]),
            ("SG.abcdefghijk.lmnopqrstuv", &["abcdefghijk.lmnopqrstuv"]),
            ("got hvs.CAESIJabcdefghijk", &["CAESIJabcdefghijk"]),
            ("pypi-AgEIcHlwaS5vcmcCJDAx", &["EIcHlwaS5vcmcCJDAx"]),
        ],
        &[
            "npm_config_registry=https://registry.npmjs.org",
            "npm_lifecycle_event, hf_hub_download, sk-learn",
            "MSG.abcdefghijklmnopqrstuv pypi-server",
        ],
    ),
    (
        "credentials.element",
        &[
            ("<password>S3cr3t</password>", &["S3cr3t"]),
            (
                "<db:password>correct horse</db:password><x>1</x>",
                &["correct horse"],
            ),
        ],
        &[
            "usage: login <token> <server>",
            "login <token> on <server>",
            "login <token>/<server>",
            "<password>${DB}</password><token></token>",
            "<token>\n</token>",
        ],
    ),
    (
        "credentials.client-key",
        &[
            (
                "users:\n- user:\n    client-key-data: LS0tLS1=\n",
                &["LS0tLS1="],
            ),
            (r#"{"client-key-data":"LS0t","x":1}"#, &["LS0t"]),
        ],
        &["client-key-data: null", "client-certificate-data: LS0tLS1="],
    ),
    (
        "credentials.docker-login",
        &[
            (
                r#"{"auths":{"r":{"auth":"Ym9iOmh1bnRlcjI="}}}"#,
                &["Ym9iOmh1bnRlcjI="],
            ),
            (
                r#"{\"auths\":{\"r\":{\"auth\": \"Ym9iOmg=\"}}}"#,
                &["Ym9iOmg="],
            ),
        ],
        &[r#"{"auth":"none"}"#, r#"{"auth":true}"#],
    ),
    (
        "credentials.authorization",
        &[
            ("Authorization: Bearer hunter2", &["hunter2"]),
            ("authorization: ApiKey aHVudGVyMg==", &["aHVudGVyMg=="]),
            (r#"{"Authorization":"Splunk hunter2"}"#, &["hunter2"]),
            ("Authorization: Negotiate YIIhunter2==", &["YIIhunter2=="]),
            (r#""authorization": "Basic Ym9iOmg=","#, &["Ym9iOmg="]),
            ("sent bearer  abcdef012345 to x", &["abcdef012345"]),
            (
                "proxy_set_header Authorization \"Basic dXNlcjpwYXNz\";",
                &["dXNlcjpwYXNz"],
            ),
            (
                "bearer abcdefghijklmnopqrstuvwxyzabcdef",
                &["abcdefghijklmnopqrstuvwxyzabcdef"],
            ),
        ],
        &[
            "Basic Commands (Beginner):\n  create   Create a resource\n",
            "a basic understanding of bearer instruments",
            "X509v3 Basic Constraints: critical; basic constraints/extensions",
            "basic auth",
            "HTTP Basic authentication.",
            "bearer of news",
            "Authorization: none",
            "Authorization: negotiated, api key missing",
        ],
    ),
    (
        "credentials.pair",
        &[
            ("db.password=hunter2\nuser=bob", &["hunter2"]),
            ("password: hunter 2", &["hunter"]),
            ("password: \"hunter 2\"", &["hunter 2"]),
            (r#"{"apiKey":"a b","x":"y"}"#, &["a b"]),
            (r#"{\"token\":\"abc\",\"x\":1}"#, &["abc"]),
            (r#"{"password":"hun\"ter2","x":1}"#, &[r#"hun\"ter2"#]),
            (r#"{"password":"hunter2\\","x":1}"#, &[r"hunter2\\"]),
            (r#"{\"token\":\"a\\\"b\",\"x\":1}"#, &[r#"a\\\"b"#]),
            (r#"{"m":"token=abc\" x"}"#, &["abc"]),
            ("password: |\n  hunter2\nuser: bob", &["hunter2"]),
            (
                "a:\n  token: >-\n    one\n    two\n\n    three\n  b: c",
                &["one\n    two\n\n    three"],
            ),
            ("password:\n  hunter2\n", &["hunter2"]),
            ("DB_PASSWORD='a b' x", &["a b"]),
            (
                r"password\=redis://:s3cr3t@cache x",
                &["redis://:s3cr3t@cache"],
            ),
            (r"db.password\://s3cr3t x", &["//s3cr3t"]),
            (r"token\: s3cr3t x", &["s3cr3t"]),
            (r"db.password \= s3cr3t x", &["s3cr3t"]),
            ("token := hunter2", &["hunter2"]),
            (":password => \"hunter2\"", &["hunter2"]),
            (
                "password\u{1b}[0m=\u{1b}[32mhunter2\u{1b}[0m\n",
                &["hunter2"],
            ),
            (
                "\u{1b}[36mtoken\u{1b}[0m: hun\u{1b}[1mter2\n",
                &["hun\u{1b}[1mter2"],
            ),
            ("Server=db;Uid=sa;Pwd=hunter2;", &["hunter2"]),
            ("PASSWORD=hunter2\0PATH=/bin\0", &["hunter2"]),
            ("token=true1", &["true1"]),
            ("token: Bearer abcdef012345", &["abcdef012345"]),
            ("token: changeme\nx", &["changeme"]),
            ("token: changeme  # but do", &["changeme"]),
            ("api-token: expected x", &["expected"]),
            ("token := hunter x", &["hunter"]),
            ("X_PASSWORD=[S3cr3t", &["[S3cr3t"]),
            ("X_PASSWORD=(S3cr3t,&)", &["(S3cr3t,&)"]),
            ("X_PASSWORD={S3cr3t}", &["{S3cr3t}"]),
            ("X_PASSWORD=,S3cr3t", &[",S3cr3t"]),
            (r"X_PASSWORD=\S3cr3t", &["S3cr3t"]),
            ("X_PASSWORD=ab,S3cr3t\n", &["ab,S3cr3t"]),
            ("X_PASSWORD=ab&S3;cr3t\n", &["ab&S3;cr3t"]),
            ("X_PASSWORD=null,S3cr3t\n", &["null,S3cr3t"]),
            ("GET /x?token=hunter2&user=bob HTTP", &["hunter2"]),
            ("token=hunter2,user=bob", &["hunter2"]),
            ("with token=hunter2, at last", &["hunter2"]),
            ("X_PASSWORD=${Y:-S3cr3t}", &["${Y:-S3cr3t}"]),
            ("X_PASSWORD=${Y-S3cr3t}", &["${Y-S3cr3t}"]),
            ("X_PASSWORD=${Y}S3cr3t", &["${Y}S3cr3t"]),
            ("passphrase: ${MYVAR:S3cr3t}", &["${MYVAR:S3cr3t}"]),
            ("password: ***S3cr3t", &["***S3cr3t"]),
            ("password = \"\"\"S3cr3t\"\"\"\n", &["S3cr3t"]),
            ("password = '''\nS3\ncr'3t'''\n", &["\nS3\ncr'3t"]),
            ("password:\n- S3cr3t\n", &["S3cr3t"]),
            ("password:\n  - \"S3cr3t\"\n", &["S3cr3t"]),
            (r#"{"X-Api-Key":["S3cr3t"],"x":1}"#, &["S3cr3t"]),
            (r#"{"password": hunter2}"#, &["hunter2"]),
            ("password=4096 token: 12", &["4096", "12"]),
            (
                "DB_\u{1b}[01;31m\u{1b}[Kpassword\u{1b}[m\u{1b}[K=S3cr3t\n",
                &["S3cr3t"],
            ),
            (
                "DB_\u{1b}[01;31m\u{1b}[KPASS\u{1b}[m\u{1b}[KWORD=S3cr3t\u{1b}[K\n",
                &["S3cr3t"],
            ),
            ("SECRET_KEY_BASE=S3cr3t", &["S3cr3t"]),
            ("DB_PASS=S3cr3t", &["S3cr3t"]),
            ("pass: S3cr3t", &["S3cr3t"]),
            (
                "DB_PASSWORD_PRIMARY=a PASSWORD2=b CREDS=c MASTERKEY=d GITHUB_PAT=e",
                &["a", "b", "c", "d", "e"],
            ),
            ("http://x:token=hunter2 y", &["hunter2"]),
            ("password=postgres://u:a@b/c d", &["postgres://u:a@b/c"]),
            ("password={{x}}hunter2 a", &["{{x}}hunter2"]),
            ("password={{hunter2 a\n", &["{{hunter2"]),
            ("password=$(hunter2 secret\n", &["$(hunter2"]),
            ("password=$(hunter2", &["$(hunter2"]),
            ("password=$(pw)hunter2 a", &["$(pw)hunter2"]),
            ("password=\"$(hunter2 secret\" a", &["$(hunter2 secret"]),
            (r#"{"password":"{{hunter2"}}"#, &["{{hunter2"]),
            (
                "token=[masked:v1:3f9a]hunter2 a",
                &["[masked:v1:3f9a]hunter2"],
            ),
            ("db.password=Xy7\"Secr9xTail\n", &["Xy7\"Secr9xTail"]),
            ("password: it's-Secr9x\n", &["it's-Secr9x"]),
            (r#"{"m":"password=Xy7\"Secr9x","x":1}"#, &[r#"Xy7\"Secr9x"#]),
            (r#"{"m":"say \"token=abc\"","x":1}"#, &["abc"]),
            ("password: 'it''s-Secr9x'\n", &["it''s-Secr9x"]),
            ("PASSWORD='it'\\''s-Secr9x' x", &["it'\\''s-Secr9x"]),
            ("PASSWORD='it'\"'\"'s-Secr9x' x", &["it'\"'\"'s-Secr9x"]),
            (
                r#"{"cmd":"x --password 'a'\"'\"'b' c","x":1}"#,
                &[r#"a'\"'\"'b"#],
            ),
            ("(\"password='a b'\", 'x')", &["a b"]),
        ],
        &[
            "passwordFile: /run/secrets/db",
            "secretName: db",
            "token: $(TOKEN)",
            "password: ${DB_PASSWORD}",
            "password: {{ .Values.password }}",
            "password: \"{{ .Values.password }}\"",
            "automountServiceAccountToken: false",
            "PWD=/home/bob\nOLDPWD=/\n",
            "[sudo] password for bob: ",
            "Password: \r\nLast login: Mon",
            "secret:\n  name: db\n  optional: true",
            "credentials:\n- name: x\n",
            "password: [masked:v1:00]",
            "password=[masked:v1:3f9a... token=[masked:v1:3f9a]",
            "password={{ .Values.password | default (include \"pw\" .) }}",
            "password={{ .a }}{{ .b }} token={{x}}, token=${{ secrets.TOKEN }}",
            "TOKEN=$(curl -s \"http://x\" | jq -r '.token') && x",
            "TOKEN=$(curl -s \\\n  http://x)",
            "TOKEN=\"$(cat \"$FILE\")\"",
            r#"{"run": "TOKEN=\"$(cat \"$FILE\")\""}"#,
            "password: \"{{ index .Data \"password\" }}\"",
            "TOKEN=$(echo $(cat x)) y",
            "Token: <none>",
            "token=null, secret=None; password=\"\"",
            "login?token=&user=bob, f(password=), password=;",
            "error: invalid token: expected ident",
            "failed to mount secret: object not found",
            "*v1.Secret: secrets \"db\" is forbidden",
            "no credentials: denied, try again",
            "SyntaxError: unexpected token: }",
            r#"{"max_token": 4096, "secret":42,"token":1e3}"#,
            r#"{"credentials": [], "secret": {"name": "db"}, "token": [{"name": "x"}]}"#,
            "password := os.Getenv(\"DB_PASSWORD\")",
            "if (password == null) throw",
            "user=bob token=${TOKEN},x=y password=${PASSWORD})",
            "password: ********",
            "password:\n- must have eight characters\n",
            "--- PASS: TestLogin (0.00s)",
            "PASSWORD = [",
        ],
    ),
    (
        "credentials.flag",
        &[
            ("run --db-password hunter2 --port 1", &["hunter2"]),
            ("run --token 'a b' c", &["a b"]),
            ("mysqld\0--password\0hunter2\0", &["hunter2"]),
            ("run --pass hunter2", &["hunter2"]),
            ("redis-server --requirepass hunter2 x", &["hunter2"]),
            (
                "requirepass hunter2\nmasterauth hunter3\n",
                &["hunter2", "hunter3"],
            ),
            ("java -Ddb.password=hunter2 x", &["hunter2"]),
        ],
        &[
            "run --token --port 1",
            "run --password $(cat /run/db) --token ${TOKEN}",
            "run --bypass x --passes 3",
            "run --password-file x",
            "read --password | sh",
            "--token\n$ ls",
        ],
    ),
    (
        "credentials.option",
        &[
            ("mysql -uroot -phunter2 shop", &["hunter2"]),
            ("mysqladmin\0ping\0-phunter2\0", &["hunter2"]),
            (
                "$ /usr/bin/mysqldump -h db -p'hunter 2' shop",
                &["hunter 2"],
            ),
            (r#"{"cmd":"mariadb -p\"hunter2\" shop"}"#, &["hunter2"]),
            ("mongodump --host db -p hunter2", &["hunter2"]),
            (
                "sshpass -p-hunter2 ssh x; mysql -p=(hunter3",
                &["-hunter2", "(hunter3"],
            ),
            ("redis-cli -h db -a hunter2 ping", &["hunter2"]),
            ("ldapsearch -x -w hunter2 -b dc=x", &["hunter2"]),
            ("docker login -u bob -p hunter2 registry", &["hunter2"]),
            ("helm registry login x -u bob -phunter2", &["hunter2"]),
        ],
        &[
            "mysql -P 3307 --port=3307 -e 'select 1'",
            "mysql -u root -p${MYSQL_ROOT_PASSWORD}",
            "mysql -u root -p < dump.sql",
            "mysqld is up\nssh -p 22",
            "docker run -p 8080:80 x",
            "redis-cli --scan; my-mysql2 x",
            "psql -p 5432",
            "ldap -w x",
        ],
    ),
    (
        "credentials.user",
        &[
            ("curl -u bob:hunter2 https://x", &["hunter2"]),
            ("curl -sSu bob:hunter2 https://x", &["hunter2"]),
            (
                "curl -ubob:hunter2 -U 'p:hunter 3'",
                &["hunter2", "hunter 3"],
            ),
            ("curl --user 'bob:hunter 2' https://x", &["hunter 2"]),
            ("curl -u \"bob:hunter 2\" https://x", &["hunter 2"]),
            ("curl --user=bob:hunter2", &["hunter2"]),
        ],
        &[
            "docker run -u 1000:1000 x",
            "pip install --user https://x/y",
            "id -u bob",
            "docker run -u1000:1000 x",
            "x --username bob",
            "java -Dbuild.host=db:8080 -Dmenu=a:b x",
        ],
    ),
];

/// Lines that programs print all day.
pub(in crate::transform::text) const ORDINARY: &[&str] = &[
    "",
    "LOG_LEVEL=debug",
    "Pulling image \"registry/app:1\"",
    "10.0.0.7 - bob [21/Nov/2026:10:00:00 +0000] \"GET /api/v1/tokens?limit=500 HTTP/1.1\" 200 612 \"-\" \"kubectl/v1.36.0\"",
    "I1121 10:00:00.000000       1 controller.go:117] \"Starting workers\" controller=\"secret\" worker count=4",
    "goroutine 1 [running]:\nmain.main()\n\t/app/main.go:12 +0x1d\nexit status 2",
    "Exception in thread \"main\" java.lang.IllegalStateException: no token provider\n\tat com.example.TokenService.get(TokenService.java:42)\n\tat java.base/java.lang.Thread.run(Thread.java:1583)",
    "{\"level\":\"info\",\"ts\":1763719200.1,\"msg\":\"listening\",\"addr\":\"http://0.0.0.0:8080\",\"user\":\"bob@example.com\"}",
    "apiVersion: v1\nkind: Pod\nspec:\n  volumes:\n  - name: token\n    secret:\n      secretName: db\n  imagePullSecrets:\n  - name: regcred\n",
    "\r 45% [=========>          ] 4.5M/10M  1.2MB/s eta 5s\r100% [====================>] 10M/10M",
    "\u{1b}[32mPASS\u{1b}[0m src/password.test.ts \u{1b}[2m(5 tests)\u{1b}[22m",
    "bob@web-0:~$ curl http://localhost:9090/metrics | grep token_total",
    "NAME        TYPE      DATA   AGE\ndb-token    Opaque    3      5d",
    "commit 3d1172b9e8c04f5a6b7c8d9e0f1a2b3c4d5e6f70\nAuthor: Bob <bob@example.com>",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "time=\"2026-11-21T10:00:00Z\" level=warning msg=\"token expired\" user=bob",
];
