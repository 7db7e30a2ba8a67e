// Drives the console in headless Chromium. Speaks JSON lines, so that the test in Rust decides what happens when:
// for each line on standard input, {"do": NAME, ...}, it does that and answers {"done": ...} or {"error": ...}.
//
// usage: node console.mjs MODULES CHROMIUM URL PROFILE
//   MODULES   the folder with node_modules;  CHROMIUM  the browser's program
//   URL       where the console is;          PROFILE   an empty folder for the browser

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [modules, executablePath, url, profile] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const patience = 30_000;

const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  ignoreHTTPSErrors: true, // the certificates of the tests are nobody's
  bypassCSP: false,
  viewport: { width: 1280, height: 800 },
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
context.setDefaultTimeout(patience);
const page = context.pages()[0] ?? (await context.newPage());
const complaints = []; // errors of scripts, and what the content security policy kept from happening
const listen = (it) => {
  it.on('pageerror', (error) => complaints.push(String(error)));
  it.on('console', (message) => {
    const text = message.text();
    // A page that answers 401 or 403 is what some steps want.
    if (message.type() === 'error' && !text.startsWith('Failed to load resource')) complaints.push(text);
  });
  it.on('dialog', (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
};
context.pages().forEach(listen);
context.on('page', listen);

/** What axe finds that is serious, on this page, in one colour scheme. */
async function look(scheme) {
  await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
  // Scripts of the tests go around the policy of the page, as a debugger's do.
  const session = await context.newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: axe });
  const { result } = await session.send('Runtime.evaluate', {
    expression: `axe.run(document, { exclude: [['.screen']], resultTypes: ['violations'] }).then((found) => JSON.stringify(found.violations.map(
      ({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map((node) => node.target.join(' ') + ': ' + node.failureSummary).slice(0, 5) }))))`,
    awaitPromise: true,
    returnByValue: true,
  });
  await session.detach();
  return JSON.parse(result.value).filter(({ impact }) => ['serious', 'critical'].includes(impact));
}

const steps = {
  /** Opens a page of the console, and logs in as `account` if that is asked for. */
  async open({ path, account }) {
    if (account) await context.setExtraHTTPHeaders({ 'x-account': account });
    await page.goto(url + path);
    const login = page.getByRole('link', { name: /^Log in with/ });
    if (account && (await login.count())) {
      await Promise.all([page.waitForURL((to) => to.href.startsWith(url)), login.click()]);
    }
    return { title: await page.title(), url: page.url() };
  },
  /** Waits for a text, on the page as it is: nothing is reloaded. */
  async see({ text }) {
    await page.getByText(text).first().waitFor();
    return await page.locator('main').innerText();
  },
  /** The text of the page as it is now. */
  async text() {
    return await page.locator('main').innerText();
  },
  async click({ name, role = 'link' }) {
    await page.getByRole(role, { name }).first().click();
    await page.waitForLoadState('domcontentloaded');
    return page.url();
  },
  async fill({ label, text }) {
    await page.getByLabel(label).fill(text);
    return text;
  },
  /** What the browser shows of where it was before: nothing that it kept, if the page was not to be kept. */
  async back() {
    await page.goBack();
    return await page.locator('main').innerText();
  },
  async choose({ label, option }) {
    await page.getByLabel(label).selectOption({ label: option });
    return option;
  },
  async press({ keys }) {
    for (const key of keys) await page.keyboard.press(key);
    return await page.evaluate(() => document.activeElement.textContent.trim().slice(0, 80));
  },
  /** What the player's terminal shows, once it shows `text`. */
  async play({ text, start }) {
    const terminal = page.locator('.ap-term');
    await terminal.waitFor();
    if (start) await page.locator('.ap-overlay-start, .ap-play-button').first().click();
    await page.waitForFunction((wanted) => document.querySelector('.ap-term')?.innerText.includes(wanted), text);
    return await terminal.innerText();
  },
  async accessible() {
    return { light: await look('light'), dark: await look('dark') };
  },
  async picture({ file, scheme, height = 800 }) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await page.setViewportSize({ width: 1280, height });
    await page.screenshot({ path: file });
    return file;
  },
  async cookies() {
    return (await context.cookies()).filter(({ name }) => name.includes('portcullis'));
  },
  /** What a page of somebody else can do with the visitor's cookies. */
  async attack({ path, form }) {
    const evil = await context.newPage();
    await evil.route('https://evil.test/**', (route) => route.fulfill({
      contentType: 'text/html',
      body: `<form method="post" action="${url}${path}">${Object.entries(form).map(([name, value]) => `<input name="${name}" value="${value}">`).join('')}<button>go</button></form>`,
    }));
    await evil.goto('https://evil.test/');
    const [answer] = await Promise.all([evil.waitForResponse((it) => it.url().startsWith(url)), evil.click('button')]);
    const status = answer.status();
    await evil.close();
    return status;
  },
  async complaints() {
    return complaints.splice(0);
  },
};

process.stdout.write('{"ready":true}\n');
for await (const line of createInterface({ input: process.stdin })) {
  const wish = JSON.parse(line);
  let answer;
  try {
    answer = { done: await steps[wish.do](wish) };
  } catch (error) {
    const shown = await page.locator('body').innerText().catch(() => '');
    answer = { error: `${error}\nat ${page.url()}:\n${shown.slice(0, 2000)}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await context.close();
process.exit(0);
