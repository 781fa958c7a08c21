/**
 * Two hosts, their journals, both ends of the relay, xl and a guest that writes without pause; and
 * whatever may go wrong at any moment: a link that breaks, a relay, an xl or a host that dies, a
 * write of the journal that is lost, torn, or lands although it failed. The daemons here are the
 * shortest that the roles allow: they answer their relay, clean up after it, and ask the other
 * host.
 *
 * Survivable, and claimed: any number of these, as long as journals keep what they confirmed.
 */
import {
  type DestinationQuestion,
  DestinationRelay,
} from '../../src/migration/destination-relay.ts'
import { type SourceQuestion, SourceRelay } from '../../src/migration/source-relay.ts'
import { Guest } from './guest.ts'
import { DISK, Host, SESSION } from './host.ts'
import { type Struck, TROUBLES, type Weather } from './weather.ts'
import { Pipe, Violation, World } from './world.ts'
import { ReceivingXl, SendingXl } from './xl.ts'

function writing(xl: Pipe, link: Pipe) {
  return {
    toXl: (bytes: Uint8Array) => xl.write(bytes),
    toLink: (bytes: Uint8Array) => link.write(bytes),
    endXl: () => xl.end(),
    endLink: () => link.end(),
  }
}

export class Handover implements Struck {
  readonly world: World
  readonly source = new Host()
  readonly destination = new Host()
  readonly guest: Guest
  readonly events: string[] = []
  #isNetUp = true
  #isCalm = false
  readonly #weather: Weather
  #sourceRelay: SourceRelay | undefined
  #destinationRelay: DestinationRelay | undefined
  readonly #xls: { kill(): void }[] = []
  readonly #link: Pipe[]

  constructor(seed: number, weather: Weather) {
    this.world = new World(seed)
    this.#weather = weather
    this.guest = new Guest({
      sourceRole: () => this.source.durableRole,
      destinationRole: () => this.destination.durableRole,
    })
    this.source.apply('claim')
    this.destination.apply('admit', this.source.journal.holding(DISK).epoch)
    this.#link = [new Pipe(this.world, 20), new Pipe(this.world, 20)]
    this.world.disturb = () => this.#trouble()
    this.world.check = () => this.#check()
    this.#start()
    this.#tick()
  }

  /** Trouble for a while, then calm, in which everything has to come to its end. */
  run(): void {
    this.world.runUntil(250)
    this.#isCalm = true
    this.source.storage.fault = undefined
    this.destination.storage.fault = undefined
    if (!this.#weather.staysDown) this.#isNetUp = true
    this.world.runUntil(800)
    const owners = [this.source, this.destination].filter(host => host.durableRole === 'owner')
    if (owners.length === 0 && this.#weather.staysDown) return
    if (owners.length !== 1) throw new Violation(`there are ${owners.length} owners at the end`)
    if (!this.guest.isRunning) throw new Violation('the guest runs nowhere at the end')
  }

  #start(): void {
    const pipes = Array.from({ length: 4 }, () => new Pipe(this.world, 1))
    const [fromSender, toSender, fromReceiver, toReceiver] = pipes as [Pipe, Pipe, Pipe, Pipe]
    const [out, back] = this.#link as [Pipe, Pipe]
    const source = new SourceRelay({
      ...writing(toSender, out),
      ask: one => this.source.put(this.world, () => this.#sourceRelay, one, this.#sourceAnswers),
      finish: () => this.#sourceEnded(),
    })
    const destination = new DestinationRelay({
      ...writing(toReceiver, back),
      ask: one =>
        this.destination.put(
          this.world,
          () => this.#destinationRelay,
          one,
          this.#destinationAnswers,
        ),
      finish: () => this.#destinationEnded(),
    })
    this.#sourceRelay = source
    this.#destinationRelay = destination
    fromSender.take = bytes => this.#sourceRelay?.fromXl(bytes)
    fromSender.ended = () => this.#sourceRelay?.xlEnded()
    back.take = bytes => this.#sourceRelay?.fromLink(bytes)
    back.ended = () => this.#sourceRelay?.linkEnded()
    fromReceiver.take = bytes => this.#destinationRelay?.fromXl(bytes)
    fromReceiver.ended = () => this.#destinationRelay?.xlEnded()
    out.take = bytes => this.#destinationRelay?.fromLink(bytes)
    out.ended = () => this.#destinationRelay?.linkEnded()
    this.#xls.push(new SendingXl(this.world, this.guest, toSender, fromSender))
    this.#xls.push(new ReceivingXl(this.world, this.guest, toReceiver, fromReceiver))
    this.#pipesOfSource = [toSender, out]
    this.#pipesOfDestination = [toReceiver, back]
  }

  #pipesOfSource: Pipe[] = []
  #pipesOfDestination: Pipe[] = []

  readonly #sourceAnswers: Readonly<Record<SourceQuestion, () => unknown>> = {
    seal: () => {
      this.guest.device = 'parked'
      if (!this.guest.isMirrored) throw new Error('the mirror is broken')
      this.source.apply('seal')
      this.source.journal.reserve(SESSION, 2)
    },
    'give-away': () => this.source.apply('give-away'),
    'take-back': () => this.#takeBack(),
    confirm: () => {
      this.guest.device = 'error'
    },
    resolve: () => this.#askDestination() ?? 'later',
  }

  #takeBack(): void {
    const { role } = this.source
    if (role === 'sealed') this.source.apply('unseal')
    else if (role === 'given-away') this.source.apply('take-back')
    this.guest.isMirrored = false
    this.guest.device = 'open'
  }

  readonly #destinationAnswers: Readonly<Record<DestinationQuestion, () => unknown>> = {
    prepare: () => this.destination.journal.reserve(SESSION, 2),
    accept: () => this.destination.apply('accept'),
    refuse: () => this.#refuse(),
    settle: () => this.destination.apply('settle'),
    'hand-back': () => {
      if (this.destination.role === 'owner') this.destination.apply('hand-back')
      else this.#refuse()
    },
  }

  #refuse(): void {
    if (this.destination.role === 'incoming') this.destination.apply('refuse')
  }

  /** The daemons' own call, over another connection; undefined if there is no answer yet. */
  #askDestination(): 'destination-owns' | 'source-owns' | undefined {
    if (!this.#isNetUp || !this.destination.isUp) return undefined
    try {
      this.#refuse()
    } catch {
      return undefined
    }
    const { role, session } = this.destination.journal.holding(DISK)
    if (role === 'none') return 'source-owns'
    // As long as it has not settled it may still hand back.
    return role === 'owner' && session === undefined ? 'destination-owns' : undefined
  }

  /** The relay is gone: what it has left is put in order, again and again until it is. */
  #sourceEnded(): void {
    this.#sourceRelay = undefined
    for (const pipe of this.#pipesOfSource) pipe.end()
    this.source.tidy(this.world, () => {
      if (this.#sourceRelay !== undefined) return true
      if (this.source.role === 'given-away') {
        const outcome = this.#askDestination()
        if (outcome === undefined) return false
        if (outcome === 'destination-owns') {
          this.guest.device = 'error'
          this.guest.destroyAtSource()
          return true
        }
      }
      this.#xls[0]?.kill()
      this.#takeBack()
      // After a reboot it is started, otherwise resumed.
      this.guest.atSource = 'running'
      return true
    })
  }

  #destinationEnded(): void {
    this.#destinationRelay = undefined
    for (const pipe of this.#pipesOfDestination) pipe.end()
    this.destination.tidy(this.world, () => {
      if (this.#destinationRelay !== undefined) return true
      // An xl that its relay has left behind must not act any more, before anything is decided.
      this.#xls[1]?.kill()
      this.#refuse()
      const { role, session } = this.destination.journal.holding(DISK)
      if (role !== 'owner') {
        this.guest.destroyAtDestination()
        return true
      }
      if (session !== undefined) this.destination.apply('settle')
      this.guest.atDestination = 'running'
      return true
    })
  }

  #tick(): void {
    this.world.after(this.world.between(0.5, 2), () => {
      if (!this.#isNetUp) this.guest.isMirrored = false
      this.guest.write()
      this.#tick()
    })
  }

  #trouble(): void {
    const { random } = this.world
    if (this.#isCalm || !random.chance(this.#weather.chanceOfTrouble)) return
    const names = Object.keys(TROUBLES)
    const name = names[random.below(names.length)]!
    this.events.push(`${this.world.now.toFixed(1)} ${name}`)
    TROUBLES[name]!(this)
  }

  killRelay(host: Host): void {
    if (host === this.source && this.#sourceRelay !== undefined) this.#sourceEnded()
    if (host === this.destination && this.#destinationRelay !== undefined) this.#destinationEnded()
  }

  killXl(host: Host): void {
    this.#xls[host === this.source ? 0 : 1]?.kill()
  }

  cancel(): void {
    this.#sourceRelay?.cancel()
  }

  breakLink(): void {
    for (const pipe of this.#link) pipe.break()
  }

  netDown(): void {
    this.breakLink()
    this.#isNetUp = false
    if (this.#weather.staysDown) return
    this.world.after(this.world.between(5, 60), () => {
      this.#isNetUp = true
    })
  }

  spoil(host: Host): void {
    const faults = ['lost', 'torn', 'landed'] as const
    host.storage.fault = faults[this.world.random.below(faults.length)]
  }

  /** Power is gone: processes and domains with it. Then it boots, and the daemon starts. */
  crash(host: Host): void {
    if (!host.isUp) return
    host.isUp = false
    host.life++
    host.reopen()
    host.storage.fault = undefined
    this.breakLink()
    const isSource = host === this.source
    const xl = this.#xls[isSource ? 0 : 1]
    if (isSource) {
      this.#sourceRelay = undefined
      this.guest.atSource = 'gone'
    } else {
      this.#destinationRelay = undefined
      this.guest.atDestination = 'gone'
      this.guest.isMirrored = false
    }
    xl?.kill()
    this.world.after(this.world.between(10, 80), () => {
      host.isUp = true
      if (isSource) this.#sourceEnded()
      else this.#destinationEnded()
    })
  }

  #check(): void {
    this.guest.check()
    if (this.source.durableRole === 'owner' && this.destination.durableRole === 'owner') {
      throw new Violation('both hosts own the disk')
    }
  }
}
