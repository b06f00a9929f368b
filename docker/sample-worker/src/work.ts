// What a job is, and what each type of worker makes of it.
import { spawn } from "node:child_process"
import { setTimeout } from "node:timers/promises"

export interface Job {
  id: string
  /** For every type but ocr. */
  text?: string
  /** For ocr: a PDF or a picture, in base64. */
  page?: string
  /** How long the work takes at least, in milliseconds. */
  takes?: number
}

/** The result of a job, as text. */
export async function work(type: string, job: Job): Promise<string> {
  await setTimeout(job.takes ?? 0)
  return type === "ocr" ? read(Buffer.from(job.page ?? "", "base64")) : extract(job.text ?? "")
}

/** The amounts of money in a text. */
function extract(text: string): string {
  return (text.match(/\d+[.,]\d{2}(?= ?EUR)/g) ?? []).join(" ")
}

/** The text on a page. Through pipes, so that it needs no place to write to. */
async function read(page: Buffer): Promise<string> {
  const isPdf = page.subarray(0, 4).toString("latin1") === "%PDF"
  const picture = isPdf ? await pipe("pdftoppm", ["-r", "200", "-png", "-singlefile", "-"], page) : page
  return (await pipe("tesseract", ["stdin", "stdout"], picture)).toString().trim()
}

function pipe(program: string, args: string[], input: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] })
    const output: Buffer[] = []
    child.on("error", reject)
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk))
    child.on("close", (code) => (code === 0 ? resolve(Buffer.concat(output)) : reject(new Error(`${program} ended with ${code}`))))
    // A program that ended early: its exit code says more than EPIPE.
    child.stdin.on("error", () => {})
    child.stdin.end(input)
  })
}
