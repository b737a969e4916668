// Verifies messages with the reference library of Standard Webhooks, one JSON object a line, and
// prints for each whether it was accepted.
const { Webhook } = require("standardwebhooks");
const readline = require("readline");

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { secret, headers, body } = JSON.parse(line);
  let accepted = true;
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64"), headers);
  } catch (error) {
    accepted = false;
  }
  process.stdout.write(accepted ? "1\n" : "0\n");
});
