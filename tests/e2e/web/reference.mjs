// Reads the API reference in headless Chromium, as somebody who looks for a method would.
//
//   node reference.mjs '{"edge": "https://localhost:8443", "token": "...", "service": "echo", ...}'

import { chromium } from "playwright-core";

const task = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
  executablePath: task.chromium,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const told = { problems: [], elsewhere: [] };
try {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    colorScheme: task.dark ? "dark" : "light",
    viewport: { width: 1440, height: 900 },
  });
  const page = await context.newPage();
  page.on("console", (message) => {
    // The first look is without a token, and Chromium says so.
    if (message.type() === "error" && !message.text().includes("401")) told.problems.push(message.text());
  });
  page.on("pageerror", (error) => told.problems.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(task.edge)) told.elsewhere.push(request.url());
  });
  await page.goto(`${task.edge}/reference`);
  await page.getByPlaceholder("Token").fill(task.token);
  await page.getByRole("button", { name: "Open" }).click();
  await page.locator(".card").first().waitFor();
  told.cards = await page.locator(".card h2").allTextContents();
  if (task.shots) await page.screenshot({ path: `${task.shots}/home.png` });

  await page.locator("#search").fill(task.search);
  told.found = await page.locator("#nav ul ul a").allTextContents();
  await page.locator("#search").press("Enter");
  await page.locator(".operation[open] .detail").waitFor();
  told.title = await page.title();
  told.path = await page.locator(".operation[open] .path").first().textContent();
  told.fields = await page.locator(".operation[open] .name").allTextContents();
  told.samples = await page.locator(".operation[open] pre").allTextContents();
  told.background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  if (task.shots) await page.screenshot({ path: `${task.shots}/method.png` });
  await page.getByRole("button", { name: "Light or dark" }).click();
  told.otherBackground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  if (task.shots) await page.screenshot({ path: `${task.shots}/other.png` });
  if (task.shots && task.also) {
    await page.goto(`${task.edge}/reference/#/${task.also}`);
    await page.locator(".operation").first().waitFor();
    await page.screenshot({ path: `${task.shots}/service.png`, fullPage: false });
  }
  console.log(JSON.stringify(told));
} catch (error) {
  console.error(JSON.stringify(told));
  throw error;
} finally {
  await browser.close();
}
