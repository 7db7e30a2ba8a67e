// Runs the certified `oidc-provider` on loopback over HTTPS, and fetches ID tokens from it as a real client does:
// discovery, authorization code with PKCE, redirects and cookies, no browser and no password.
//
// usage: node provider.mjs CERTIFICATE KEY CA ACCOUNTS
//   CERTIFICATE, KEY   PEM files of the server;  CA  the PEM file that signed it
//   ACCOUNTS           a JSON file: {"alice": {"groups": ["developers"]}, ...}, the claims of each account
//
// Speaks JSON lines. First it says {"issuer": URL}. Then, for each line on standard input,
//   {"account": "alice", "lifetime": 60, "algorithm": "ES256"}
// it answers {"token": "..."} or {"error": "..."}. It ends with its standard input.

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const [certificate, key, ca, accounts] = process.argv.slice(2).map((path) => readFileSync(path, 'utf8'));
const claimsOf = JSON.parse(accounts);
const redirect = 'https://127.0.0.1:1/callback'; // nobody listens: the client reads the code from the redirect
console.log = console.info = console.warn = console.error; // standard output is ours alone
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

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
  scopes: ['openid', 'profile'],
  claims: { openid: ['sub'], profile: [...new Set(Object.values(claimsOf).flatMap(Object.keys))] },
  conformIdTokenClaims: false, // what Kubernetes reads is in the ID token
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
  ttl: { IdToken: () => lifetime, Interaction: 60, Session: 60, Grant: 60, AccessToken: 60 },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) =>
    Object.hasOwn(claimsOf, id) && { accountId: id, claims: () => ({ sub: id, ...claimsOf[id] }) },
  // Whoever logs in has consented.
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope('openid profile');
    await grant.save();
    return grant;
  },
});

// The login page: the account that the client hinted at is logged in.
provider.use(async (context, next) => {
  if (!context.path.startsWith('/interaction/')) return next();
  const { params } = await provider.interactionDetails(context.req, context.res);
  await provider.interactionFinished(context.req, context.res, { login: { accountId: params.login_hint } });
  context.respond = false;
});
server.on('request', provider.callback());

/** One HTTPS request that trusts the given authority alone. */
function request(url, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const outgoing = https.request(url, { method, headers, ca, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    outgoing.on('error', reject).end(body);
  });
}

/** The authorization-code flow with PKCE, as a command-line login helper runs it, the browser included. */
async function fetchToken({ account, algorithm = 'RS256' }) {
  const discovery = JSON.parse((await request(`${issuer}/.well-known/openid-configuration`)).text);
  const client_id = `portcullis-${algorithm.toLowerCase()}`;
  const verifier = randomBytes(32).toString('base64url');
  const authorization = new URL(discovery.authorization_endpoint);
  authorization.search = new URLSearchParams({
    client_id,
    redirect_uri: redirect,
    response_type: 'code',
    scope: 'openid profile',
    login_hint: account,
    state: randomBytes(8).toString('hex'),
    nonce: randomBytes(8).toString('hex'),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });

  const jar = new Map();
  let location = authorization.href;
  for (let hops = 0; !location.startsWith(redirect); hops += 1) {
    if (hops > 8) throw new Error('too many redirects');
    const cookie = [...jar].map((pair) => pair.join('=')).join('; ');
    const answer = await request(location, { headers: { cookie } });
    for (const line of answer.headers['set-cookie'] ?? []) {
      const [name, ...value] = line.split(';')[0].split('=');
      jar.set(name, value.join('='));
    }
    if (!answer.headers.location) throw new Error(`no redirect but ${answer.status}: ${answer.text.slice(0, 300)}`);
    location = new URL(answer.headers.location, location).href;
  }
  const returned = new URL(location).searchParams;
  if (!returned.has('code')) throw new Error(`no code: ${returned}`);

  const answer = await request(discovery.token_endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id,
      code: returned.get('code'),
      redirect_uri: redirect,
      code_verifier: verifier,
    }).toString(),
  });
  const { id_token: token } = JSON.parse(answer.text);
  if (!token) throw new Error(`no ID token: ${answer.text}`);
  return token;
}

say({ issuer });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const wanted = JSON.parse(line);
    lifetime = wanted.lifetime ?? 300;
    say({ token: await fetchToken(wanted) });
  } catch (error) {
    say({ error: String(error) });
  }
}
process.exit(0);
