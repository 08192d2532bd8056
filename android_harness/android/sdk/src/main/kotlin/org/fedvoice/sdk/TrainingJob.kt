package org.fedvoice.sdk

import android.app.job.JobParameters
import android.app.job.JobService
import android.util.Log
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/** A session as a system job: started when the conditions hold, stopped when they do not. */
class TrainingJob : JobService() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private var session: Job? = null

    override fun onStartJob(parameters: JobParameters): Boolean {
        val voice = FedVoice.get(this)
        if (!voice.consent) return false
        session =
            scope.launch {
                val asked = Schedule.isAskedFor(parameters)
                val next =
                    if (asked) voice.session(overridden = true) else voice.sessions.runIfDue()
                // First the end of this job, then the next: scheduling a job stops a running one
                // of the same number. What was decided is on disk already.
                jobFinished(parameters, false)
                voice.schedule(next)
            }
        return true
    }

    override fun onStopJob(parameters: JobParameters): Boolean {
        // Training stops after the step it is in and has its checkpoint; the system starts the job
        // again when the conditions are back.
        Log.i(TAG, "the system asks to stop")
        session?.cancel()
        return FedVoice.get(this).consent
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }
}
