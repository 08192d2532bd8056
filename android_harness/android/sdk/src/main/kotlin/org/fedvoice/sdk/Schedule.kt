package org.fedvoice.sdk

import android.app.job.JobInfo
import android.app.job.JobScheduler
import android.content.ComponentName
import android.content.Context
import android.net.NetworkCapabilities
import android.net.NetworkRequest
import org.fedvoice.core.session.Requirements
import kotlin.math.min
import kotlin.math.pow

/**
 * When the phone works next, as a job that the system starts.
 *
 * Android refuses back-off for jobs that wait for an idle phone, so back-off is ours: a session
 * that failed schedules the next one later, twice as late each time.
 */
internal object Schedule {
    private const val FIRST_BACKOFF_SECS = 60.0
    private const val LONGEST_BACKOFF_SECS = 6 * 3600.0

    /** Seconds to wait after [failures] failed sessions in a row; [jitter] uniform in 0..1. */
    fun backoffSecs(failures: Int, jitter: Double): Double =
        min(LONGEST_BACKOFF_SECS, FIRST_BACKOFF_SECS * 2.0.pow(failures - 1)) * (0.5 + jitter)

    /** A session no earlier than [delaySecs] from now, when [requirements] hold. */
    fun next(
        context: Context,
        jobId: Int,
        requirements: Requirements,
        delaySecs: Double,
    ): JobInfo =
        job(context, jobId)
            .setRequiresCharging(requirements.charging)
            .setRequiresDeviceIdle(requirements.idle)
            .setRequiresBatteryNotLow(true)
            .setRequiresStorageNotLow(true)
            .setRequiredNetwork(network(requirements.unmetered))
            .setMinimumLatency((delaySecs * 1000).toLong())
            .setPersisted(true)
            .build()

    /** A session at once, whatever the conditions, because a person asked for it. */
    fun now(context: Context, jobId: Int): JobInfo =
        job(context, jobId)
            .setRequiredNetwork(network(unmetered = false))
            .setOverrideDeadline(0)
            .build()

    fun put(context: Context, job: JobInfo) {
        val result = context.getSystemService(JobScheduler::class.java).schedule(job)
        check(result == JobScheduler.RESULT_SUCCESS) { "the system refused job ${job.id}" }
    }

    fun cancel(context: Context, jobId: Int) {
        context.getSystemService(JobScheduler::class.java).cancel(jobId)
    }

    private fun job(context: Context, jobId: Int): JobInfo.Builder =
        JobInfo.Builder(jobId, ComponentName(context, TrainingJob::class.java))

    private fun network(unmetered: Boolean): NetworkRequest =
        NetworkRequest
            .Builder()
            .addCapability(NetworkCapabilities.NET_CAPABILITY_INTERNET)
            .apply {
                if (unmetered) addCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
            }.build()
}
