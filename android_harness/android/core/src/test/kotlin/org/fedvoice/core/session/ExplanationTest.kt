package org.fedvoice.core.session

import org.fedvoice.core.training.UsageCounts
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class ExplanationTest {
    private val now = 100_000.0
    private val trained = Books(sessions = 1, lastHappened = "trained", updatedSecs = now - 7200)
    private val cool = Conditions(temperatureCelsius = 30.0)
    private val wanted = Requirements(minBatteryPercent = 30, maxTemperatureCelsius = 40.0)

    @Test
    fun `every fact is told, in one order`() {
        val told = explained()

        assertEquals(Topic.entries, told.lines.map { it.topic })
        assertNull(told.obstacle)
        assertTrue("Nothing stands in the way" in told.sentence)
        assertTrue("2.0 h ago" in told.lines.last().text, told.lines.last().text)
    }

    @Test
    fun `what is to be put right first is the answer`() {
        val hot = cool.copy(batteryPercent = 5, temperatureCelsius = 50.0)
        val bad = hot.copy(charging = false, idle = false, unmetered = false)
        val failed = trained.copy(lastError = "server-unreachable")
        val later = Pacing(now + 2100, Wish.BACKOFF, now)
        var told = explained(false, false, 0, UsageCounts(), bad, later, failed)
        val blocked = told.lines.filter { it.standing == Standing.BLOCKED }
        assertEquals(Topic.entries - Topic.STORAGE, blocked.map { it.topic })
        assertEquals(blocked.first(), told.obstacle)
        assertEquals(PersonsAction.GIVE_CONSENT, told.obstacle?.action)

        told = explained(enrolled = false, held = 0)
        assertEquals(PersonsAction.JOIN, told.obstacle?.action)
        told = explained(held = 0, conditions = bad)
        assertEquals(PersonsAction.RECORD, told.obstacle?.action)
        told = explained(conditions = bad)
        assertEquals("The phone is waiting: not charging.", told.sentence)
        assertEquals(PersonsAction.TRAIN_NOW, told.obstacle?.action)
        assertNull(explained(conditions = hot).obstacle?.action)
        val offline = explained(conditions = cool.copy(online = false))
        assertEquals("The phone is waiting: not on the internet.", offline.sentence)
        assertEquals(1, offline.lines.count { it.standing == Standing.BLOCKED })
    }

    @Test
    fun `a gate blocks exactly when a session would wait for it`() {
        val now = Conditions(temperatureCelsius = 40.0)
        val all =
            listOf(now)
                .flatMap { listOf(it, it.copy(charging = false)) }
                .flatMap { listOf(it, it.copy(idle = false)) }
                .flatMap { listOf(it, it.copy(unmetered = false)) }
                .flatMap { listOf(it.copy(batteryPercent = 30), it.copy(batteryPercent = 29)) }
                .flatMap { listOf(it, it.copy(temperatureCelsius = 40.1)) }
        for (conditions in all) {
            val told = explained(conditions = conditions).lines.filter { it.topic in GATES }
            val blocked = told.filter { it.standing == Standing.BLOCKED }
            assertEquals(wanted.missing(conditions).size, blocked.size)
        }
    }

    @Test
    fun `what is left out is told by reason, and what is not known as such`() {
        val none = UsageCounts(0, mapOf("too-short" to 2, "unknown-token" to 1))
        val told = explained(usage = none)
        assertTrue("2 too-short, 1 unknown-token" in told.sentence, told.sentence)
        val some = explained(usage = none.copy(used = 4)).lines[2]
        assertEquals(Standing.OK, some.standing)
        assertTrue("4 used, 3 left out" in some.text, some.text)

        val unknown =
            explained(usage = null, conditions = Conditions(batteryPercent = null)).lines.filter {
                it.standing == Standing.UNKNOWN
            }
        val topics = listOf(Topic.EXAMPLES, Topic.BATTERY, Topic.HEAT, Topic.STORAGE)
        assertEquals(topics, unknown.map { it.topic })
    }

    @Test
    fun `a wait names whose wish it is`() {
        val said =
            mapOf(
                Wish.PERSON to "in 35 min",
                Wish.SERVER to "The server wants the next call in 35 min",
                Wish.BACKOFF to "failed (no-space); the next try is in 35 min",
                Wish.FINISHED to "training has ended",
                Wish.REFUSED to "does not take this phone's certificate",
                Wish.DAILY_LIMIT to "a day may cost is spent; the next session is in 35 min",
            )
        val failed = trained.copy(lastError = "no-space")
        for (wish in Wish.entries) {
            val told = explained(pacing = Pacing(now + 2100, wish, now), books = failed)
            assertTrue(said.getValue(wish) in told.sentence, told.sentence)
            assertEquals(wish, told.obstacle?.wish)
        }
        val paused = Pacing(now + 2100, Wish.BACKOFF, now)
        assertTrue("stopped early" in explained(pacing = paused).sentence)
        val due = explained(pacing = Pacing(now - 1, Wish.SERVER, now - 10))
        assertNull(due.obstacle)
    }

    @Test
    fun `a last session that could not do its work is told when nothing else is in the way`() {
        val slow = explained(books = trained.copy(lastHappened = Happened.LINE_TOO_SLOW.id))
        assertEquals(Topic.LAST_SESSION, slow.obstacle?.topic)
        assertTrue("line-too-slow" in slow.sentence)
        assertNull(explained(books = Books()).obstacle)
    }

    private fun explained(
        consent: Boolean = true,
        enrolled: Boolean = true,
        held: Int = 7,
        usage: UsageCounts? = UsageCounts(7),
        conditions: Conditions = cool,
        pacing: Pacing? = null,
        books: Books = trained,
    ) = explanationOf(
        PhoneState(
            consent,
            enrolled,
            held,
            usage,
            wanted,
            conditions,
            pacing,
            books,
            now,
        ),
    )

    private companion object {
        val GATES =
            listOf(Topic.CHARGING, Topic.IDLE, Topic.NETWORK, Topic.BATTERY, Topic.HEAT)
    }
}
