package org.fedvoice.e2e

import android.app.Application
import android.app.NotificationManager
import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.content.Intent
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Looper
import android.os.PowerManager
import kotlinx.coroutines.flow.flowOf
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.Source
import org.fedvoice.core.training.Usage
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.sdk.FedVoice
import org.fedvoice.sdk.TrainingJob
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadow.api.Shadow
import org.robolectric.shadows.ShadowNetworkCapabilities
import java.io.File
import kotlin.random.Random

/**
 * A job of the SDK, TLS to the real Python server, training on Android's ExecuTorch binary, and the
 * round that the server makes of it.
 */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34])
class WholePathTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val app: Application get() = RuntimeEnvironment.getApplication()
    private lateinit var server: PythonServer
    private lateinit var voice: FedVoice
    private lateinit var before: Set<String>

    @Before
    fun aServerAndAPhoneOnItsCharger() {
        server = PythonServer(folder.root)
        OpaqueKeystore.install()
        before = leftOvers()
        voice = FedVoice.start(app)
        conditions(charging = true)
    }

    @After
    fun stopTheServer() {
        OpaqueKeystore.remove()
        server.close()
    }

    @Test
    fun `a phone enrols, learns from what was kept, and recognises with what came back`() {
        val early = assertThrows(FedvoiceException::class.java) { recognise() }
        assertEquals(ErrorCode.NOT_FOUND, early.code)
        val deaf = assertThrows(FedvoiceException::class.java) { listen() }
        assertEquals(ErrorCode.NOT_FOUND, deaf.code)
        assertNull(voice.usage())
        runBlocking {
            voice.enrol(server.invitation)
            voice.setConsent(true)
        }
        repeat(
            6,
        ) { voice.addExample(noise(it), RATE, listOf("yes", "no")[it % 2], Source.CORRECTION) }
        val signedAtEnrolment = OpaqueKeystore.signatures

        runJob()

        assertEquals(voice.status.toString(), 1, voice.status.trained)
        assertEquals(setOf("org.fedvoice.client"), OpaqueKeystore.keys.keys)
        assertEquals(listOf(true, false), OpaqueKeystore.asked.map { it.isStrongBoxBacked })
        assertTrue("handshakes are signed", OpaqueKeystore.signatures > signedAtEnrolment)
        val files = app.dataDir.walk().filter(File::isFile)
        assertTrue(files.none { "PRIVATE KEY" in it.readText(Charsets.ISO_8859_1) })
        assertTrue(voice.status.bytesUp > 0 && voice.status.trainSecs > 0)
        waitFor { server.rounds.isNotEmpty() }
        assertEquals(listOf("round 1 committed 1 6"), server.rounds)
        assertEquals(UsageCounts(6), voice.status.usage)
        assertEquals(Usage(6), voice.usage())
        voice.addExample(noise(7), 3 * RATE, "yes", Source.CORRECTION)
        assertEquals("resampled when it is learnt from", Usage(7), voice.usage())
        for (rate in listOf(null, 3 * RATE)) {
            val words = recognise(rate).split(" ")
            assertTrue("only the task's words", words.all { it in setOf("", "yes", "no") })
        }
        assertTrue(runBlocking { voice.canListen() })
        val heard = listen()
        assertEquals(listOf(true), heard.map { it.isFinal }.filter { it })
        assertEquals("to the end of the sound", 0.5, heard.last().endSecs, 0.05)
        val said = heard.last().text.split(" ")
        assertTrue("only the task's words", said.all { it in setOf("", "yes", "no") })

        // Off the charger nothing happens, and the server is not even called.
        conditions(charging = false)
        // As if the time that the server named had come.
        assertTrue(File(app.noBackupFilesDir, "fedvoice/pacing.json").delete())
        val calls = voice.status.attempts
        runJob()
        assertEquals("not-ready", voice.status.lastHappened)
        assertEquals(calls, voice.status.attempts)

        assertTrue(leftOvers().size > before.size + FEW)
        runBlocking { voice.deleteEverything() }
        assertEquals(before, leftOvers())
        assertTrue(OpaqueKeystore.keys.isEmpty())
        assertTrue(!voice.isEnrolled && !voice.consent)
        assertEquals(0, voice.exampleCount)
    }

    /** Files, jobs, notifications and channels of the app. */
    private fun leftOvers(): Set<String> {
        val notifications = app.getSystemService(NotificationManager::class.java)
        val folders = listOfNotNull(app.dataDir, app.getExternalFilesDir(null))
        val files = folders.flatMap { it.walk().filter(File::isFile) }.map { it.path }
        val jobs = app.getSystemService(JobScheduler::class.java).allPendingJobs
        return files.toSet() + jobs.map { "job ${it.id}" } +
            notifications.activeNotifications.map { "notification ${it.id}" } +
            notifications.notificationChannels.map { "channel ${it.id}" }
    }

    private fun runJob() {
        val job = Robolectric.buildService(TrainingJob::class.java).create().get()
        assertTrue(job.onStartJob(Shadow.newInstanceOf(JobParameters::class.java)))
        waitFor { shadowOf(job).isJobFinished && pending() }
        assertTrue(pending())
    }

    private fun pending() =
        app.getSystemService(JobScheduler::class.java).allPendingJobs.isNotEmpty()

    private fun recognise(rate: Int? = null) = runBlocking { voice.recognize(noise(0), rate) }

    private fun listen() = runBlocking { voice.listen(flowOf(noise(0), noise(1))).toList() }

    private fun noise(seed: Int): ShortArray {
        val random = Random(seed)
        return ShortArray(RATE / 4) { random.nextInt(-3000, 3000).toShort() }
    }

    @Suppress("DEPRECATION") // Apps may not send it any more; here it stands for the system's.
    private fun conditions(charging: Boolean) {
        val battery = shadowOf(app.getSystemService(BatteryManager::class.java))
        battery.setIsCharging(charging)
        battery.setIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY, 90)
        app.sendStickyBroadcast(
            Intent(Intent.ACTION_BATTERY_CHANGED).putExtra(BatteryManager.EXTRA_TEMPERATURE, 300),
        )
        shadowOf(app.getSystemService(PowerManager::class.java)).turnScreenOn(false)
        val networks = app.getSystemService(ConnectivityManager::class.java)
        val capabilities = ShadowNetworkCapabilities.newInstance()
        shadowOf(capabilities).addCapability(NetworkCapabilities.NET_CAPABILITY_INTERNET)
        shadowOf(capabilities).addCapability(NetworkCapabilities.NET_CAPABILITY_VALIDATED)
        shadowOf(capabilities).addCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
        shadowOf(networks).setNetworkCapabilities(networks.activeNetwork, capabilities)
    }

    private fun waitFor(condition: () -> Boolean) {
        val end = System.nanoTime() + 120_000_000_000
        while (!condition()) {
            check(System.nanoTime() < end) { "waited two minutes in vain; ${voice.status}" }
            shadowOf(Looper.getMainLooper()).idle()
            Thread.sleep(10)
        }
    }

    private companion object {
        const val RATE = 16000
        const val FEW = 5
    }
}
