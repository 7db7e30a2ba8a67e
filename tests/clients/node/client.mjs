// Drives the stock JavaScript client through the gateway and prints one JSON line a step.
//
// Environment: KUBECONFIG, POD (a running pod in `default`), SECRET (a secret of `default` with the key
// `password`), NEW_VALUE (the value this program stores; it never prints it).
// tests/e2e/clients.rs asserts on the lines.

import * as k8s from '@kubernetes/client-node';
import net from 'node:net';
import { once } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const { POD: pod, SECRET: secret, NEW_VALUE: newValue } = process.env;
const made = 'made-by-node';
const namespace = 'default';

const config = new k8s.KubeConfig();
config.loadFromDefault();
const api = config.makeApiClient(k8s.CoreV1Api);

const decoded = (object) => Buffer.from(object.data.password, 'base64').toString();

/** A stream that keeps what is written to it. */
function sink() {
  const stream = new Writable({
    write(chunk, _encoding, done) {
      stream.text += chunk;
      done();
    },
  });
  stream.text = '';
  return stream;
}

async function listSecrets() {
  const list = await api.listNamespacedSecret({ namespace });
  return { names: list.items.map((item) => item.metadata.name) };
}

async function getSecret() {
  return { value: decoded(await api.readNamespacedSecret({ name: secret, namespace })) };
}

// Watches from the list's version and creates a secret meanwhile: the event must arrive without a second one.
async function watchSecrets() {
  const list = await api.listNamespacedSecret({ namespace });
  const watch = new k8s.Watch(config);
  let abort;
  const seen = new Promise((resolve, reject) => {
    watch
      .watch(
        `/api/v1/namespaces/${namespace}/secrets`,
        { resourceVersion: list.metadata.resourceVersion },
        (type, object) => type === 'ADDED' && object.metadata.name === made && resolve(object),
        (error) => reject(error ?? new Error('the watch ended before the event')),
      )
      .then((controller) => (abort = controller), reject);
  });
  seen.catch(() => {}); // awaited below
  const body = { metadata: { name: made }, data: { password: Buffer.from(newValue).toString('base64') } };
  const created = await api.createNamespacedSecret({ namespace, body });
  const object = await seen;
  abort?.abort();
  return { name: object.metadata.name, value: decoded(object), created: decoded(created) };
}

async function patchSecret() {
  const patched = await api.patchNamespacedSecret(
    { name: made, namespace, body: { metadata: { labels: { patched: 'yes' } } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
  );
  return { value: decoded(patched), label: patched.metadata.labels.patched };
}

async function replaceWithPlaceholder() {
  const body = await api.readNamespacedSecret({ name: made, namespace });
  try {
    await api.replaceNamespacedSecret({ name: made, namespace, body });
  } catch (refusal) {
    const status = typeof refusal.body === 'string' ? JSON.parse(refusal.body) : refusal.body;
    return { code: refusal.code, message: status.message };
  }
  return { code: 200 };
}

async function deleteSecret() {
  await api.deleteNamespacedSecret({ name: made, namespace });
  try {
    await api.readNamespacedSecret({ name: made, namespace });
  } catch (absent) {
    return { gone: absent.code === 404 };
  }
  return { gone: false };
}

async function listPods() {
  const list = await api.listNamespacedPod({ namespace });
  return { names: list.items.map((item) => item.metadata.name) };
}

/** Runs a command to its end; resolves with what it wrote and the final Status. */
async function run(command, stdin) {
  const exec = new k8s.Exec(config);
  const [stdout, stderr] = [sink(), sink()];
  const status = await new Promise((resolve, reject) => {
    exec.exec(namespace, pod, undefined, command, stdout, stderr, stdin, false, resolve).then((socket) => {
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the session ended without a status')));
    }, reject);
  });
  return { stdout: stdout.text, stderr: stderr.text, status };
}

async function exec() {
  const { stdout, stderr, status } = await run(['sh', '-c', 'echo out; echo err >&2; exit 7'], null);
  const cause = status.details?.causes?.find(({ reason }) => reason === 'ExitCode');
  return { stdout, stderr, exit: cause ? Number(cause.message) : null };
}

async function execWithStdin() {
  const stdin = new PassThrough();
  stdin.write('typed\n');
  const { stdout } = await run(['head', '-n', '1'], stdin);
  return { stdout };
}

async function followLogs() {
  const out = sink();
  // Left running: the client throws where nobody can catch it when a followed log is aborted.
  await new k8s.Log(config).log(namespace, pod, '', out, { follow: true });
  const lines = () => out.text.split('\n').length - 1;
  while (lines() < 3) await sleep(20); // bounded by the step's own limit
  return { lines: 3 };
}

async function forwardPort() {
  const forward = new k8s.PortForward(config);
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    forward.portForward(namespace, pod, [8080], socket, null, socket).catch((error) => socket.destroy(error));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect(server.address().port, '127.0.0.1');
  socket.on('error', () => {}); // the loop below ends by the step's own limit
  socket.write('GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n');
  let answer = '';
  while (!answer.includes('\r\n')) answer += (await once(socket, 'data'))[0];
  socket.destroy();
  server.close();
  return { status: answer.split('\r\n')[0] };
}

const steps = {
  'list secrets': listSecrets,
  'get secret': getSecret,
  'watch secrets': watchSecrets,
  'patch secret': patchSecret,
  'replace with placeholder': replaceWithPlaceholder,
  'delete secret': deleteSecret,
  'list pods': listPods,
  exec,
  'exec with stdin': execWithStdin,
  'follow logs': followLogs,
  'forward port': forwardPort,
};

const limit = async () => {
  await sleep(20_000, undefined, { ref: false });
  throw new Error('timed out');
};

for (const [step, work] of Object.entries(steps)) {
  let facts;
  try {
    facts = await Promise.race([work(), limit()]);
  } catch (error) {
    facts = { error: error.message || String(error) };
  }
  console.log(JSON.stringify({ step, ...facts }));
}
process.exit(0); // streams that a step left open must not keep the program
