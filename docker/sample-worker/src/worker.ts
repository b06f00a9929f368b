// Takes jobs from a list in Redis until SIGTERM, then finishes those in hand and ends.
import process from "node:process"
import { createClient } from "@redis/client"
import { type Job, work } from "./work.js"

const type = process.env.WORKER_TYPE ?? ""
const concurrency = Number(process.env.WORKER_CONCURRENCY ?? "1")
const url = process.env.REDIS_URL ?? ""
if (!type || !url || !Number.isInteger(concurrency) || concurrency < 1) {
  console.error("worker: needs WORKER_TYPE, REDIS_URL and a WORKER_CONCURRENCY of 1 or more")
  process.exit(2)
}

const waiting = `jobs:${type}`
const taken = `jobs:${type}:taken`
const done = `jobs:${type}:done`
let stopping = false
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    console.log(`worker: ${signal}, finishing what is in hand`)
    stopping = true
  })
}

/** One job after the other, on a connection of its own: waiting for a job blocks it. */
async function lane(): Promise<void> {
  const redis = createClient({ url })
  redis.on("error", (error: Error) => console.error(`worker: Redis: ${error.message}`))
  await redis.connect()
  while (!stopping) {
    // A second at most, so that an idle worker sees the signal soon.
    const text = await redis.blMove(waiting, taken, "LEFT", "RIGHT", 1)
    if (text === null) {
      continue
    }
    const job = JSON.parse(text) as Job
    console.log(`worker: job ${job.id} taken`)
    const result = await work(type, job).catch((error: Error) => `failed: ${error.message}`)
    const record = JSON.stringify({ id: job.id, result, gitSha: process.env.GIT_SHA })
    await redis.multi().rPush(done, record).lRem(taken, 1, text).exec()
    console.log(`worker: job ${job.id} done`)
  }
  await redis.close()
}

console.log(`worker: ${type} of GIT_SHA ${process.env.GIT_SHA}, ${concurrency} at a time`)
await Promise.all(Array.from({ length: concurrency }, lane))
console.log("worker: done")
