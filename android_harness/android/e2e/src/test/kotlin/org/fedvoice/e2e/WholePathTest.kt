package org.fedvoice.e2e

import android.app.Application
import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.content.Intent
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Looper
import android.os.PowerManager
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.Source
import org.fedvoice.core.training.LeftOut
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

    @Before
    fun aServerAndAPhoneOnItsCharger() {
        server = PythonServer(folder.root)
        voice = FedVoice.start(app)
        conditions(charging = true)
    }

    @After
    fun stopTheServer() = server.close()

    @Test
    fun `a phone enrols, learns from what was kept, and recognises with what came back`() {
        val before = assertThrows(FedvoiceException::class.java) { recognise() }
        assertEquals(ErrorCode.NOT_FOUND, before.code)
        assertNull(voice.usage())
        runBlocking {
            voice.enrol(server.invitation)
            voice.setConsent(true)
        }
        repeat(
            6,
        ) { voice.addExample(noise(it), RATE, listOf("yes", "no")[it % 2], Source.CORRECTION) }

        runJob()

        assertEquals(voice.status.toString(), 1, voice.status.trained)
        assertTrue(voice.status.bytesUp > 0 && voice.status.trainSecs > 0)
        waitFor { server.rounds.isNotEmpty() }
        assertEquals(listOf("round 1 committed 1 6"), server.rounds)
        assertEquals(UsageCounts(6), voice.status.usage)
        assertEquals(Usage(6), voice.usage())
        val id = voice.addExample(noise(7), 3 * RATE, "yes", Source.CORRECTION)
        val leftOut = LeftOut(1, "stored example $id")
        assertEquals(Usage(6, mapOf("wrong-sample-rate" to leftOut)), voice.usage())
        assertTrue(
            "only the task's words",
            recognise().split(" ").all {
                it in
                    setOf("", "yes", "no")
            },
        )

        // Off the charger nothing happens, and the server is not even called.
        conditions(charging = false)
        // As if the time that the server named had come.
        assertTrue(File(app.noBackupFilesDir, "fedvoice/pacing.json").delete())
        val calls = voice.status.attempts
        runJob()
        assertEquals("not-ready", voice.status.lastHappened)
        assertEquals(calls, voice.status.attempts)

        runBlocking { voice.deleteEverything() }
        assertEquals(0, voice.exampleCount)
        assertTrue(!voice.isEnrolled && !voice.consent)
    }

    private fun runJob() {
        val job = Robolectric.buildService(TrainingJob::class.java).create().get()
        assertTrue(job.onStartJob(Shadow.newInstanceOf(JobParameters::class.java)))
        waitFor { shadowOf(job).isJobFinished && pending() }
        assertTrue(pending())
    }

    private fun pending() =
        app.getSystemService(JobScheduler::class.java).allPendingJobs.isNotEmpty()

    private fun recognise() = runBlocking { voice.recognize(noise(0)) }

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
    }
}
