// Stands in for the real worker: one job after the other, and at SIGTERM the one in hand is finished.
import process from "node:process"
import { setTimeout } from "node:timers/promises"

let stopping = false
process.on("SIGTERM", () => {
  stopping = true
})

for (let job = 1; !stopping; job++) {
  console.log(`job ${job} taken`)
  await setTimeout(2000)
  console.log(`job ${job} done`)
}
