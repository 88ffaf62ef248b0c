/** A question on the terminal that only a typed `yes` answers with yes. Asked on stderr: stdout is data. */

import { createInterface } from 'node:readline/promises';

/** Whether there is somebody to ask. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

export async function confirmed(question: string): Promise<boolean> {
  // Not as a terminal: then Ctrl-C stays the signal that ends the process.
  const lines = createInterface({
    input: process.stdin,
    output: process.stderr,
    terminal: false,
  });
  try {
    const answer = lines.question(`${question} Type yes to go on: `);
    const ended = new Promise<string>((resolve) => {
      lines.once('close', () => {
        resolve('');
      });
    });
    return (await Promise.race([answer, ended])).trim().toLowerCase() === 'yes';
  } finally {
    lines.close();
  }
}
