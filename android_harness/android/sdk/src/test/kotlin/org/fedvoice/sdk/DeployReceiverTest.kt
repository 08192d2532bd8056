package org.fedvoice.sdk

import android.app.job.JobScheduler
import android.content.ComponentName
import android.content.Intent
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.session.Topic
import org.fedvoice.core.store.Source
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

class DeployReceiverTest : SdkTest() {
    @Test
    fun `only the shell and the system reach it`() {
        val name = ComponentName(app, DeployReceiver::class.java)

        val info = app.packageManager.getReceiverInfo(name, 0)

        assertEquals("android.permission.DUMP", info.permission)
    }

    @Test
    fun `a phone is enrolled, agreed for and set to work`() {
        phone.isEnrolled = false

        assertTrue(ask("enrol", "invitation" to "fedvoice1:abc").getBoolean("enrolled"))
        assertTrue(ask("consent").getBoolean("consent"))
        assertFalse(ask("train-now").has("error"))

        assertEquals(listOf("fedvoice1:abc"), phone.invitations)
        val job = app.getSystemService(JobScheduler::class.java).allPendingJobs.single()
        assertFalse(job.isRequireCharging)
    }

    @Test
    fun `training without consent is refused, whoever asks`() {
        assertEquals("bad-config", ask("train-now").getString("error"))
    }

    @Test
    fun `the books are numbers`() {
        agree()
        runBlocking { voice.session() }

        val books = ask("status").getJSONObject("books")

        assertEquals(1, books.getInt("trained"))
        assertEquals(2000, books.getInt("bytes_down"))
        val texts =
            books
                .keys()
                .asSequence()
                .filter { books.get(it) is String }
                .toSet()
        assertEquals(setOf("last_happened", "last_error"), texts)
    }

    @Test
    fun `the status says why nothing is trained`() {
        conditions(charging = false)
        agree()
        voice.addExample(ShortArray(1600) { 9 }, 16000, "light", Source.CORRECTION)

        val lines = ask("status").getJSONObject("explanation").getJSONArray("lines")

        val told = (0 until lines.length()).map { lines.getJSONObject(it) }
        assertEquals(Topic.entries.size, told.size)
        val blocked = told.single { it.getString("standing") == "blocked" }
        assertEquals("charging", blocked.getString("topic"))
        assertEquals("train-now", blocked.getString("action"))
        assertFalse(told.any { "light" in it.toString() })
    }

    @Test
    fun `what is not known is answered with an error`() {
        assertTrue(ask("fly").getString("message").contains("unknown command fly"))
        assertTrue(ask("enrol").getString("message").contains("no invitation given"))
    }

    private fun ask(command: String, vararg extras: Pair<String, String>): JSONObject {
        val intent = Intent().putExtra("command", command)
        extras.forEach { (name, value) -> intent.putExtra(name, value) }
        return runBlocking { DeployReceiver.answer(voice, files, intent) }
    }
}
