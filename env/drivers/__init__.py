"""Programs that start a job with something attached. They run in the sandbox, as the run's entry point; the
package only reads their text (see `env.workbench.Workbench.drive`)."""
