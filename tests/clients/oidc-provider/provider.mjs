// Runs the certified `oidc-provider` on loopback over HTTPS, and fetches ID tokens from it as a real client does:
// discovery, authorization code with PKCE, redirects and cookies, no browser and no password.
//
// usage: node provider.mjs CERTIFICATE KEY CA ACCOUNTS
//   CERTIFICATE, KEY   PEM files of the server;  CA  the PEM file that signed it
//   ACCOUNTS           a JSON file: {"alice": {"groups": ["developers"]}, ...}, the claims of each account
//
// Speaks JSON lines. First it says {"issuer": URL}. Then, for each line on standard input,
//   {"account": "alice", "lifetime": 60, "algorithm": "ES256"}
// it answers {"token": "..."} or {"error": "..."}. For {"kubelogin": "alice"} it sends what stock kubelogin (int128, 1.36) sends for a
// login and for the renewal of its token, and answers {"tokens": ["...", "..."]}. Four wishes are for programs that log in themselves:
//   {"visit": URL, "account": "alice"}   opens a page as a browser does: redirects, cookies, forms, a person who agrees
//   {"lifetime": 5}                      that of the next ID tokens
//   {"ahead": 3600}                      how far its clock is ahead of this machine's from now on, in seconds
//   {"grants": "refresh_token"}          how many grants of this type there were
// It ends with its standard input.

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const [certificate, key, ca, accounts] = process.argv.slice(2).map((path) => readFileSync(path, 'utf8'));
const claimsOf = JSON.parse(accounts);
const redirect = 'https://127.0.0.1:1/callback'; // nobody listens: the client reads the code from the redirect
console.log = console.info = console.warn = console.error; // standard output is ours alone
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const clock = Date.now; // what the library asks for the time
let lifetime = 300; // of the next ID token, in seconds; the flows run one at a time

const signingKey = (type, options, kid, alg) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
  kid,
  alg,
  use: 'sig',
});

// One client for each algorithm; its id is the token's audience.
const clients = ['RS256', 'ES256'].map((algorithm) => ({
  client_id: `portcullis-${algorithm.toLowerCase()}`,
  token_endpoint_auth_method: 'none',
  application_type: 'web',
  redirect_uris: [redirect],
  response_types: ['code'],
  grant_types: ['authorization_code'],
  id_token_signed_response_alg: algorithm,
}));
// A command-line program on somebody's machine (RFC 8252), and one that acts for nobody but itself.
clients.push(
  {
    client_id: 'cli',
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1/callback', 'http://localhost/callback', 'http://localhost'], // the last is kubelogin's
    response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    id_token_signed_response_alg: 'ES256',
  },
  // The gateway's console: a browser comes back to it over HTTP on this machine, on any port.
  {
    client_id: 'console',
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1/console/callback'],
    response_types: ['code'],
    grant_types: ['authorization_code'],
    id_token_signed_response_alg: 'ES256',
  },
  {
    client_id: 'nightly',
    client_secret: 'a secret, with % and : in it',
    redirect_uris: [],
    response_types: [],
    grant_types: ['client_credentials'],
  },
);

const server = https.createServer({ cert: certificate, key });
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `https://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients,
  jwks: {
    keys: [
      signingKey('rsa', { modulusLength: 2048 }, 'rsa-1', 'RS256'),
      signingKey('ec', { namedCurve: 'P-256' }, 'ec-1', 'ES256'),
    ],
  },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  scopes: ['openid', 'profile', 'offline_access'],
  claims: { openid: ['sub'], profile: [...new Set(Object.values(claimsOf).flatMap(Object.keys))] },
  conformIdTokenClaims: false, // what Kubernetes reads is in the ID token
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
  ttl: { IdToken: () => lifetime, Interaction: 60, Session: 600, Grant: 600, AccessToken: 60, ClientCredentials: 120 },
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    clientCredentials: { enabled: true },
    // Access tokens for this resource are JWTs (RFC 9068).
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: '',
        audience: 'portcullis-programs',
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  extraTokenClaims: (_, token) => (token.kind === 'ClientCredentials' ? { groups: ['developers'] } : undefined),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) =>
    Object.hasOwn(claimsOf, id) && { accountId: id, claims: () => ({ sub: id, ...claimsOf[id] }) },
  // Whoever logs in has consented.
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope('openid profile offline_access');
    await grant.save();
    return grant;
  },
});

// With a certificate the console is at any free port, too; the library has that for plain HTTP alone (RFC 8252 §7.3).
const { redirectUriAllowed } = provider.Client.prototype;
provider.Client.prototype.redirectUriAllowed = function allowed(uri) {
  const ours = this.clientId === 'console' && /^https:\/\/127\.0\.0\.1:\d+\/console\/callback$/.test(uri);
  return ours || redirectUriAllowed.call(this, uri);
};

// The login page: the account that the browser says is logged in, or the one that the client hinted at.
provider.use(async (context, next) => {
  if (!context.path.startsWith('/interaction/')) return next();
  const { params } = await provider.interactionDetails(context.req, context.res);
  const accountId = context.get('x-account') || params.login_hint;
  await provider.interactionFinished(context.req, context.res, { login: { accountId }, consent: {} });
  context.respond = false;
});
const grants = {};
provider.on('grant.success', ({ oidc }) => {
  grants[oidc.params.grant_type] = (grants[oidc.params.grant_type] ?? 0) + 1;
});
const answer = provider.callback();
server.on('request', (incoming, outgoing) => {
  outgoing.setHeader('date', new Date(Date.now()).toUTCString());
  answer(incoming, outgoing);
});

/** One request that trusts the given authority alone. */
function request(url, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const outgoing = (String(url).startsWith('https:') ? https : http).request(url, { method, headers, ca, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    outgoing.on('error', reject).end(body);
  });
}

/** Opens pages with a cookie jar of its own; cookies go to the provider alone. */
function browser(account) {
  const jar = new Map();
  return async (url, form) => {
    const headers = { 'x-account': account ?? '' };
    if (url.startsWith(issuer)) headers.cookie = [...jar].map((pair) => pair.join('=')).join('; ');
    if (form) headers['content-type'] = 'application/x-www-form-urlencoded';
    const answer = await request(url, { method: form ? 'POST' : 'GET', headers, body: form?.toString() });
    for (const line of answer.headers['set-cookie'] ?? []) {
      const [name, ...value] = line.split(';')[0].split('=');
      jar.set(name, value.join('='));
    }
    return answer;
  };
}

/** What a person does who agrees to everything: follows redirects and submits forms, until a page has none. */
async function visit({ visit: url, account }) {
  const open = browser(account);
  let form;
  for (let hops = 0; hops < 16; hops += 1) {
    const answer = await open(url, form);
    form = undefined;
    const [, tag, inside] = /(<form[^>]*>)([^]*?)<\/form>/.exec(answer.text) ?? [];
    if (answer.headers.location) {
      url = new URL(answer.headers.location, url).href;
    } else if (tag) {
      url = new URL(/action="([^"]*)"/.exec(tag)[1], url).href;
      form = new URLSearchParams();
      for (const [input] of inside.matchAll(/<input[^>]*>/g)) {
        const [name, value] = ['name', 'value'].map((what) => new RegExp(`${what}="([^"]*)"`).exec(input)?.[1]);
        if (name) form.append(name, value ?? '');
      }
    } else {
      return { status: answer.status, text: answer.text };
    }
  }
  throw new Error(`no end at ${url}`);
}

const discover = async () => JSON.parse((await request(`${issuer}/.well-known/openid-configuration`)).text);

/** What the token endpoint answers to a public client. */
async function grant(discovery, form) {
  const answer = await request(discovery.token_endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
  });
  const tokens = JSON.parse(answer.text);
  if (!tokens.id_token) throw new Error(`no ID token: ${answer.text}`);
  return tokens;
}

/** The authorization-code flow with PKCE, as a command-line login helper runs it, the browser included. */
async function codeFlow(discovery, account, asked) {
  const { client_id, redirect_uri } = asked;
  const random = () => randomBytes(32).toString('base64url');
  const verifier = random();
  const authorization = new URL(discovery.authorization_endpoint);
  authorization.search = new URLSearchParams({
    ...asked,
    response_type: 'code',
    state: random(),
    nonce: random(),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });

  const open = browser(account);
  let location = authorization.href;
  for (let hops = 0; !location.startsWith(redirect_uri); hops += 1) {
    if (hops > 8) throw new Error('too many redirects');
    const answer = await open(location);
    if (!answer.headers.location) throw new Error(`no redirect but ${answer.status}: ${answer.text.slice(0, 300)}`);
    location = new URL(answer.headers.location, location).href;
  }
  const returned = new URL(location).searchParams;
  if (!returned.has('code')) throw new Error(`no code: ${returned}`);

  const code = returned.get('code');
  return grant(discovery, { grant_type: 'authorization_code', client_id, code, redirect_uri, code_verifier: verifier });
}

async function fetchToken({ account, algorithm = 'RS256' }) {
  const client_id = `portcullis-${algorithm.toLowerCase()}`;
  const asked = { client_id, redirect_uri: redirect, scope: 'openid profile' };
  return (await codeFlow(await discover(), account, asked)).id_token;
}

/** It asks for no scopes when it renews. That it asks for consent is an option, without which there is no refresh token here. */
async function kubelogin(account) {
  const discovery = await discover();
  const client_id = 'cli';
  const asked = { client_id, redirect_uri: 'http://localhost:8000', scope: 'profile offline_access openid' };
  const first = await codeFlow(discovery, account, { ...asked, access_type: 'offline', prompt: 'consent' });
  const { refresh_token } = first;
  const renewed = await grant(discovery, { grant_type: 'refresh_token', refresh_token, client_id });
  return [first.id_token, renewed.id_token];
}

say({ issuer });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const wanted = JSON.parse(line);
    lifetime = wanted.lifetime ?? lifetime;
    if ('ahead' in wanted) Date.now = () => clock() + wanted.ahead * 1000;
    if (wanted.visit) say(await visit(wanted));
    else if (wanted.grants) say({ grants: grants[wanted.grants] ?? 0 });
    else if (wanted.kubelogin) say({ tokens: await kubelogin(wanted.kubelogin) });
    else if (wanted.account) say({ token: await fetchToken(wanted) });
    else say({ lifetime });
  } catch (error) {
    say({ error: String(error) });
  }
}
process.exit(0);
