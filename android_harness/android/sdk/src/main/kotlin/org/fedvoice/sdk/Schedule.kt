package org.fedvoice.sdk

import android.app.job.JobInfo
import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.content.ComponentName
import android.content.Context
import android.os.PersistableBundle
import org.fedvoice.core.session.Requirements
import kotlin.math.min
import kotlin.math.pow

/**
 * When the phone works next, as a job that the system starts.
 *
 * Android refuses back-off for jobs that wait for an idle phone, so back-off is ours: a session
 * that failed schedules the next one later, twice as late each time.
 *
 * Networks are asked for by the platform's own kinds: any network that reaches the internet, a VPN
 * included, a login page not.
 */
internal object Schedule {
    private const val FIRST_BACKOFF_SECS = 60.0
    private const val LONGEST_BACKOFF_SECS = 6 * 3600.0

    // The system changes what it keeps of a job (whose network it is), so that two jobs cannot be
    // compared by it: what a job waits for is told in its extras.
    private const val WAITS_FOR = "org.fedvoice.waits_for"
    private const val NOTHING = "nothing: a person asked for it"

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
        job(context, jobId, waitsFor(requirements))
            .setRequiresCharging(requirements.charging)
            .setRequiresDeviceIdle(requirements.idle)
            .setRequiresBatteryNotLow(true)
            .setRequiresStorageNotLow(true)
            .setRequiredNetworkType(
                if (requirements.unmetered) {
                    JobInfo.NETWORK_TYPE_UNMETERED
                } else {
                    JobInfo.NETWORK_TYPE_ANY
                },
            ).setMinimumLatency((delaySecs * 1000).toLong())
            .setPersisted(true)
            .build()

    /**
     * A session as soon as there is a network, whatever else, because a person asked for it.
     *
     * Without a deadline, which would start it without a network, and which Android 15 refuses
     * beside one.
     */
    fun now(context: Context, jobId: Int): JobInfo =
        job(context, jobId, NOTHING).setRequiredNetworkType(JobInfo.NETWORK_TYPE_ANY).build()

    /** Whether a person asked for the session that this job is. */
    fun isAskedFor(job: JobParameters): Boolean = job.extras?.getString(WAITS_FOR) == NOTHING

    /** Whether [job], which is pending, need not be replaced to wait for [requirements]. */
    fun suits(job: JobInfo, requirements: Requirements): Boolean =
        job.extras.getString(WAITS_FOR).let { it == NOTHING || it == waitsFor(requirements) }

    /** The job of that number which waits or runs; null: there is none. */
    fun pending(context: Context, jobId: Int): JobInfo? = scheduler(context).getPendingJob(jobId)

    /** @throws IllegalStateException if the system refuses it */
    fun put(context: Context, job: JobInfo) {
        val result = scheduler(context).schedule(job)
        check(result == JobScheduler.RESULT_SUCCESS) { "the system refused job ${job.id}" }
    }

    fun cancel(context: Context, jobId: Int) = scheduler(context).cancel(jobId)

    private fun scheduler(context: Context) = context.getSystemService(JobScheduler::class.java)

    private fun waitsFor(wanted: Requirements): String =
        "charging=${wanted.charging} idle=${wanted.idle} unmetered=${wanted.unmetered}"

    private fun job(context: Context, jobId: Int, waitsFor: String): JobInfo.Builder =
        JobInfo
            .Builder(jobId, ComponentName(context, TrainingJob::class.java))
            .setExtras(PersistableBundle().apply { putString(WAITS_FOR, waitsFor) })
}
